//! Reads a disk's partition table: GPT by name, MBR by number. Only what preparation needs.
//!
//! Sources: UEFI specification 2.10, section 5.3 (GPT); the classic MBR layout.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SECTOR: u64 = 512;

/// One partition, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Partition {
    pub(super) number: u32,
    /// GPT only.
    pub(super) name: String,
    pub(super) start: u64,
    pub(super) size: u64,
}

/// The partitions of the disk in `path`; none where there is no table.
pub(super) fn read(path: &Path) -> io::Result<Vec<Partition>> {
    let disk = File::open(path)?;
    let mut sector = [0; SECTOR as usize];
    match disk.read_exact_at(&mut sector, SECTOR) {
        Ok(()) if &sector[..8] == b"EFI PART" => return gpt(&disk, &sector),
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    disk.read_exact_at(&mut sector, 0)?;
    Ok(if sector[510..] == [0x55, 0xaa] { mbr(&sector) } else { Vec::new() })
}

/// How many bytes the table says the disk must have, if there is a table.
pub(super) fn extent(path: &Path) -> io::Result<Option<u64>> {
    let ends = read(path)?.into_iter().map(|p| p.start.saturating_add(p.size));
    Ok(ends.max())
}

fn gpt(disk: &File, header: &[u8]) -> io::Result<Vec<Partition>> {
    let table = u64_at(header, 72).saturating_mul(SECTOR);
    let count = u32_at(header, 80).min(1024);
    let entry_size = u64::from(u32_at(header, 84));
    if !(128..=4096).contains(&entry_size) {
        return Err(io::Error::other(format!("GPT entries of {entry_size} bytes make no sense")));
    }
    let mut found = Vec::new();
    for index in 0..count {
        let mut entry = [0; 128];
        let offset = table.saturating_add(u64::from(index) * entry_size);
        disk.read_exact_at(&mut entry, offset)
            .map_err(|error| io::Error::new(error.kind(), format!("GPT cut short: {error}")))?;
        if entry[..16].iter().all(|byte| *byte == 0) {
            continue;
        }
        let (first, last) = (u64_at(&entry, 32), u64_at(&entry, 40));
        let wide: Vec<u16> = entry[56..]
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        let name = String::from_utf16_lossy(&wide);
        found.push(Partition {
            number: index + 1,
            name: name.trim_end_matches('\0').to_string(),
            start: first.saturating_mul(SECTOR),
            size: last.saturating_add(1).saturating_sub(first).saturating_mul(SECTOR),
        });
    }
    Ok(found)
}

fn mbr(sector: &[u8]) -> Vec<Partition> {
    let entries = sector[446..510].chunks_exact(16).zip(1..);
    let used = entries.filter(|(entry, _)| entry[4] != 0);
    used.map(|(entry, number)| Partition {
        number,
        name: String::new(),
        start: u64::from(u32_at(entry, 8)) * SECTOR,
        size: u64::from(u32_at(entry, 12)) * SECTOR,
    })
    .collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn disk(script: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        let mut sfdisk = Command::new("sfdisk")
            .arg("-q")
            .arg(file.path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sfdisk (package fdisk) must be installed");
        use std::io::Write;
        sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(sfdisk.wait().unwrap().success());
        file
    }

    #[test]
    fn partitions_written_by_sfdisk_are_found_by_name() {
        let file = disk("label: gpt\nstart=2048,size=4096,name=boot\nsize=1024,name=rootA\n");
        let found = read(file.path()).unwrap();
        assert_eq!(found.len(), 2);
        let boot = Partition { number: 1, name: "boot".into(), start: 1 << 20, size: 2 << 20 };
        assert_eq!(found[0], boot);
        assert_eq!(found[1].name, "rootA");
    }

    #[test]
    fn mbr_partitions_have_numbers_only() {
        let file = disk("label: dos\nstart=2048,size=2048,type=c\n");
        let found = read(file.path()).unwrap();
        assert_eq!((found.len(), found[0].number, found[0].start), (1, 1, 1 << 20));
        assert_eq!(extent(file.path()).unwrap(), Some(2 << 20));
    }

    #[test]
    fn no_table_is_no_partitions() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(read(file.path()).unwrap(), []);
    }
}
