//! Loaders: what their tools get, what of them is passed on, and that none outlives its time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use hil_core::board::{Flash, Loader, Provides, Tool};
use hil_core::deadline::{Deadline, secs};
use hil_lab::storage::StorageSpec;

use crate::rig::{MIB, Rig, noise, on, read, run};

fn flash(steps: &[&[&str]]) -> Flash {
    let steps = steps.iter().map(|step| step.iter().map(ToString::to_string).collect()).collect();
    let loader = Loader {
        tool: Tool::Command,
        uboot: Vec::new(),
        steps,
        provides: None,
        device_at: None,
        enter: Some("hold the button FEL while it gets power".into()),
    };
    Flash { loader: Some(loader), ..Flash::default() }
}

fn wired() -> StorageSpec {
    StorageSpec {
        loader_serial: Some("0123abc".into()),
        loader_device: Some("1-1.4".into()),
        ..StorageSpec::default()
    }
}

fn flashed(rig: &Rig, flash: &Flash) -> Result<(), String> {
    let done = rig.run_with(&wired(), Some(flash), &|_, _| (), &mut |_| Ok(()));
    done.map(|done| assert!(done.loader && done.medium.is_none())).map_err(|why| why.to_string())
}

/// A pipe whose writing end the tools hold: reading ends when the last of them has died.
fn lifeline(rig: &Rig) -> mpsc::Receiver<()> {
    let path = rig.path("alive");
    run("mkfifo", &[path.to_str().unwrap()]);
    let (send, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        File::open(path).unwrap().read_to_end(&mut all).unwrap();
        let _ = send.send(());
    });
    ended
}

#[test]
fn steps_get_their_arguments_and_their_output_is_passed_on() {
    let mut rig = Rig::new();
    let tool = rig.tool(
        "uuu",
        "printf '%s|' \"$@\" >>\"$dir/said\"; echo \"$HIL_RUN\" >>\"$dir/said\"\n\
         printf 'part 1: 10%%\\rpart 1: 55.5%%\\rdone\\n'; echo warned >&2",
    );
    rig.env = vec![("HIL_RUN".into(), "run-7".into())];
    let first = [tool.as_str(), "-s", "{serial}", "a b"];
    let flash = flash(&[&first, &[&tool, "-p={device}", "{dir}/{image}", "{}"]]);
    flashed(&rig, &flash).unwrap();
    let (dir, image) = (rig.dir.path().display(), rig.path("disk.img"));
    let want = format!("-s|0123abc|a b|run-7\n-p=1-1.4|{dir}/{}|{{}}|run-7\n", image.display());
    assert_eq!(String::from_utf8(read(&rig.path("said"))).unwrap(), want);
    let log = rig.log.lock().unwrap();
    for line in ["part 1: 55.5%", "done", "warned"] {
        assert!(log.iter().any(|said| said == line), "{log:?}");
    }
    let progress = rig.progress.lock().unwrap();
    let want: [u64; 8] = [0, 10, 55, 100, 100, 110, 155, 200];
    assert_eq!(*progress, want.map(|done| (done, 200)));
}

#[test]
fn a_failing_step_is_the_last_and_is_quoted() {
    let rig = Rig::new();
    let bad = rig.tool("bad", "echo 'waiting for any device'; echo 'no device' >&2; exit 4");
    let never = rig.tool("never", "touch \"$dir/ran\"");
    let error = flashed(&rig, &flash(&[&[&bad], &[&never]])).unwrap_err();
    assert!(error.contains("status 4") && error.contains("no device"), "{error}");
    assert!(error.contains("button FEL"), "{error}");
    assert!(!rig.path("ran").exists());
}

#[test]
fn nothing_runs_if_a_tool_or_a_value_is_missing() {
    let rig = Rig::new();
    let first = rig.tool("first", "touch \"$dir/ran\"");
    let mut missing = flash(&[&[&first], &["uuu-of-nowhere", "x"], &["uuu", "y"]]);
    let error = flashed(&rig, &missing).unwrap_err();
    assert!(error.contains("`uuu-of-nowhere` is not installed"), "{error}");
    if let Some(loader) = &mut missing.loader {
        loader.tool = Tool::Rpiboot;
        loader.steps[1][0] = "rpiboot".into();
    }
    let rig = Rig { env: vec![("PATH".into(), "/nonexistent".into())], ..rig };
    let error = flashed(&rig, &missing).unwrap_err();
    assert!(error.contains("github.com/raspberrypi/usbboot"), "{error}");
    let error = flashed(&rig, &flash(&[&[&first], &[&first, "{bootloader}"]])).unwrap_err();
    assert!(error.contains("{bootloader}") && error.contains("manifest"), "{error}");
    assert!(!rig.path("ran").exists());
}

#[test]
fn a_step_that_hangs_is_killed_with_all_its_children() {
    let mut rig = Rig::new();
    let ended = lifeline(&rig);
    let hangs = "exec 3>\"$dir/alive\"; trap '' TERM; echo begun; sleep 1000 & sleep 1000";
    let tool = rig.tool("hangs", hangs);
    rig.deadline = Deadline::within(secs(2));
    let error = flashed(&rig, &flash(&[&[&tool]])).unwrap_err();
    assert!(error.contains("did not end within 2.0 s") && error.contains("begun"), "{error}");
    ended.recv_timeout(secs(30)).unwrap();
}

#[test]
fn a_raised_flag_ends_a_silent_step_and_what_it_left_running() {
    let rig = Rig::new();
    let ended = lifeline(&rig);
    let tool = rig.tool("hangs", "exec 3>\"$dir/alive\"; echo begun; sleep 1000 & sleep 1000");
    let stop = |line: &str| {
        if line == "begun" {
            rig.cancel.store(true, Ordering::Relaxed);
        }
    };
    let error = std::thread::scope(|scope| {
        let flashing = scope.spawn(|| flashed(&rig, &flash(&[&[&tool]])));
        loop {
            let last = rig.log.lock().unwrap().last().cloned();
            stop(&last.unwrap_or_default());
            if flashing.is_finished() {
                return flashing.join().unwrap().unwrap_err();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert!(error.contains("stopped"), "{error}");
    ended.recv_timeout(secs(30)).unwrap();
}

#[test]
fn a_tool_dies_with_hil() {
    if let Some(dir) = std::env::var_os("HIL_TEST_LOADER_VICTIM") {
        return victim(std::path::Path::new(&dir));
    }
    let rig = Rig::new();
    let ended = lifeline(&rig);
    let mut hil = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "loader::a_tool_dies_with_hil", "--nocapture"])
        .env("HIL_TEST_LOADER_VICTIM", rig.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(hil.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("tool-has-begun")));
    hil.kill().unwrap();
    hil.wait().unwrap();
    ended.recv_timeout(secs(30)).unwrap();
}

/// What is killed in the test above, in a process of its own.
fn victim(dir: &std::path::Path) {
    let rig = Rig::new();
    let alive = dir.join("alive");
    let script = format!("exec 3>'{}'; echo tool-has-begun; exec sleep 1000", alive.display());
    let tool = rig.tool("hangs", &script);
    let loader = flash(&[&[&tool]]);
    std::thread::scope(|scope| {
        let run = || rig.run_with(&wired(), Some(&loader), &|_, _| (), &mut |_| Ok(()));
        let flashing = scope.spawn(run);
        while !flashing.is_finished() {
            for line in rig.log.lock().unwrap().drain(..) {
                println!("{line}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn a_loader_that_provides_a_block_device_is_followed_by_writing_it() {
    let rig = Rig::new();
    rig.image(3 * MIB, &[(MIB, &noise(MIB))]);
    let emmc = rig.card("emmc", 8 * MIB);
    let tool = rig.tool("rpiboot", "ln -s \"$dir/emmc\" \"$dir/usb-disk\"");
    let mut flash = flash(&[&[&tool]]);
    if let Some(loader) = &mut flash.loader {
        loader.provides = Some(Provides::BlockDevice);
    }
    let spec = StorageSpec { loader_serial: Some("7".into()), ..on(rig.path("usb-disk")) };
    let done = rig.run_with(&spec, Some(&flash), &|_, _| (), &mut |_| Ok(())).unwrap();
    assert!(done.loader && done.medium.is_some());
    assert!(read(&emmc)[..3 * MIB as usize] == read(&rig.path("disk.img")));
}
