//! What a medium holds after an image was written, and what stops it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use hil_lab::storage::StorageSpec;

use crate::rig::{MIB, Rig, has, noise, on, read, run};

/// 20 MiB with data at both ends and in the middle, and an odd size.
fn sparse(rig: &Rig) -> Vec<u8> {
    let (first, middle) = (noise(3 * MIB + 17), noise(5 * MIB));
    let size = 20 * MIB + 700;
    rig.image(size, &[(0, &first), (9 * MIB, &middle), (size - 100, &[7; 100])]);
    read(&rig.path("disk.img"))
}

#[test]
fn a_sparse_image_is_there_whole_and_its_holes_are_zeros() {
    let rig = Rig::new();
    let image = sparse(&rig);
    let card = rig.card("card", 32 * MIB);
    let done = rig.run(&on(&card)).unwrap();
    let after = read(&card);
    assert!(after[..image.len()] == image, "the card differs from the image");
    assert!(after[image.len()..].iter().all(|byte| *byte == 0xee), "written past the image");
    let (path, written) = done.medium.unwrap();
    assert_eq!(path, card.canonicalize().unwrap());
    assert_eq!(written.data + written.zeroed, image.len() as u64);
    assert!(written.zeroed > 9 * MIB && written.skipped == 0, "{written:?}");
    let progress = rig.progress.lock().unwrap();
    let total = 2 * image.len() as u64;
    assert!(progress.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{progress:?}");
    assert_eq!((progress.first(), progress.last()), (Some(&(0, total)), Some(&(total, total))));
}

#[test]
fn an_image_with_a_block_map_leaves_out_what_the_map_leaves_out() {
    if !has("bmaptool") {
        return;
    }
    let rig = Rig::new();
    let image = sparse(&rig);
    let (file, map) = (rig.text("disk.img"), rig.text("disk.img.bmap"));
    run("bmaptool", &["create", &file, "-o", &map]);
    let card = rig.card("card", 32 * MIB);
    let written = rig.run(&on(&card)).unwrap().medium.unwrap().1;
    let after = read(&card);
    assert!(after[..3 * MIB as usize] == image[..3 * MIB as usize]);
    assert!(after[9 * MIB as usize..14 * MIB as usize] == image[9 * MIB as usize..][..5 << 20]);
    assert!(after[image.len() - 100..image.len()] == [7; 100]);
    assert_eq!(after[6 * MIB as usize], 0xee, "a hole of the map was touched");
    assert_eq!((written.zeroed, written.skipped > 10 * MIB), (0, true));
    // The second opinion: bmaptool writes the same blocks; a file it empties beforehand.
    run("bmaptool", &["-q", "copy", &file, &rig.text("other")]);
    for (ours, theirs) in after.chunks(4096).zip(read(&rig.path("other")).chunks(4096)) {
        let left_out = theirs.iter().all(|byte| *byte == 0);
        let want = if left_out { [0xee].repeat(4096) } else { theirs.to_vec() };
        assert!(ours.starts_with(&want[..theirs.len()]), "bmaptool wrote something else");
    }

    // One bit of the image changed: the map does not fit it any more.
    let changed = File::options().write(true).open(&file).unwrap();
    changed.write_all_at(&[image[9 << 20] ^ 1], 9 * MIB).unwrap();
    let error = rig.refused(&on(&card));
    assert!(error.contains("block map") && error.contains("9437184"), "{error}");
}

#[test]
fn an_image_larger_than_the_medium_is_refused_before_a_byte_is_written() {
    let rig = Rig::new();
    sparse(&rig);
    let card = rig.card("card", 16 * MIB);
    let error = rig.refused(&on(&card));
    assert!(error.contains("20972220") && error.contains("16777216"), "{error}");
    assert!(read(&card).iter().all(|byte| *byte == 0xee));
}

#[test]
fn a_medium_that_forgets_is_found_out() {
    let rig = Rig::new();
    let image = sparse(&rig);
    for (at, zeroed) in [(10 * MIB + 5, false), (7 * MIB, true)] {
        let card = rig.card("card", 32 * MIB);
        let spoil = |done, of| {
            if done * 2 == of {
                let file = File::options().write(true).open(&card).unwrap();
                file.write_all_at(&[image[at as usize] ^ 0x10], at).unwrap();
            }
        };
        let failed = rig.run_with(&on(&card), None, &spoil, &mut |_| panic!("injected into it"));
        let error = failed.unwrap_err().to_string();
        assert!(error.contains(&format!("from byte {at} on")), "{zeroed}: {error}");
    }
}

#[test]
fn it_stops_when_it_is_told_to() {
    let rig = Rig::new();
    sparse(&rig);
    let card = rig.card("card", 32 * MIB);
    let stop = |done, _| rig.cancel.store(done > 4 * MIB, Ordering::Relaxed);
    let stopped = rig.run_with(&on(&card), None, &stop, &mut |_| Ok(()));
    let error = stopped.unwrap_err().to_string();
    assert!(error.contains("stopped, at "), "{error}");
    let (done, of) = *rig.progress.lock().unwrap().last().unwrap();
    assert!(done < of / 2, "{done} of {of}");
    // Nothing holds the card any more.
    rig.cancel.store(false, Ordering::Relaxed);
    rig.run(&on(&card)).unwrap();
}

#[test]
fn a_deadline_ends_it() {
    let mut rig = Rig::new();
    sparse(&rig);
    let card = rig.card("card", 32 * MIB);
    rig.deadline = hil_core::deadline::Deadline::within(std::time::Duration::ZERO);
    let error = rig.refused(&on(&card));
    assert!(error.contains("not done within"), "{error}");
}

#[test]
fn a_card_that_another_program_locks_is_left_alone() {
    if !has("python3") {
        return;
    }
    let rig = Rig::new();
    sparse(&rig);
    let card = rig.card("card", 32 * MIB);
    let script = "import fcntl,sys; f=open(sys.argv[1],'r+b'); fcntl.lockf(f,fcntl.LOCK_EX); \
                  print('locked',flush=True); sys.stdin.read()";
    let mut holder = Command::new("python3")
        .args(["-c", script])
        .arg(&card)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let error = rig.refused(&on(&card));
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(line.contains("locked") && error.contains("in use"), "{line} {error}");
    rig.run(&on(&card)).unwrap();
}

#[test]
fn sizes_of_the_lab_file_are_kept_to() {
    let rig = Rig::new();
    sparse(&rig);
    let card = rig.card("card", 32 * MIB);
    let of = |size| StorageSpec { size: Some(size), ..on(&card) };
    assert!(rig.refused(&of(64 * MIB)).contains("another medium"));
    rig.run(&of(32 * MIB)).unwrap();
}
