//! Puts a file into a file system image with that file system's own tools: mtools for FAT, debugfs
//! for ext2/3/4. Where the image comes from and goes to is `inject`'s affair.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use super::tools;

/// Puts one file into a file system image, with that file system's own tools.
pub(super) fn put(
    partition: &Path,
    content: &Path,
    path: &str,
    mode: Option<u32>,
) -> io::Result<()> {
    let mut sector = [0; 2048];
    File::open(partition)?.read_exact_at(&mut sector, 0)?;
    let path = path.trim_start_matches('/');
    if sector[1024 + 0x38..1024 + 0x3a] == [0x53, 0xef] {
        return put_ext(partition, content, path, mode);
    }
    let fat = [&sector[54..57], &sector[82..85]].contains(&b"FAT".as_slice());
    if fat {
        return put_fat(partition, content, path);
    }
    Err(io::Error::other("the file system is neither FAT nor ext2/3/4"))
}

fn put_fat(partition: &Path, content: &Path, path: &str) -> io::Result<()> {
    let mut folder = String::from("::");
    let parts: Vec<&str> = path.split('/').collect();
    for part in &parts[..parts.len() - 1] {
        folder = format!("{folder}/{part}");
        let mut exists = tools::command("mdir");
        exists.args(["-b", "-i"]).arg(partition).arg(&folder);
        if !exists.output().map_err(|error| missing("mdir", "mtools", error))?.status.success() {
            let mut make = tools::command("mmd");
            make.arg("-i").arg(partition).arg(&folder);
            run(&mut make, "mtools", None)?;
        }
    }
    let mut copy = tools::command("mcopy");
    copy.args(["-o", "-i"]).arg(partition).arg(content).arg(format!("::{path}"));
    run(&mut copy, "mtools", None)
}

fn put_ext(partition: &Path, content: &Path, path: &str, mode: Option<u32>) -> io::Result<()> {
    let mut script = String::new();
    let mut folder = String::new();
    let parts: Vec<&str> = path.split('/').collect();
    for part in &parts[..parts.len() - 1] {
        folder = format!("{folder}/{part}");
        // Harmless where it exists already: debugfs says so and goes on.
        script += &format!("mkdir \"{folder}\"\n");
    }
    script += &format!("rm \"/{path}\"\nwrite \"{}\" \"/{path}\"\n", content.display());
    script += &format!("sif \"/{path}\" uid 0\nsif \"/{path}\" gid 0\n");
    if let Some(mode) = mode {
        script += &format!("sif \"/{path}\" mode 0{mode:o}\n");
    }
    // A journal still to be replayed would undo what debugfs writes.
    let mut check = tools::command("e2fsck");
    let output = ended(check.arg("-p").arg(partition), "e2fsprogs", None)?;
    if !is_sound(output.status) {
        return Err(told(&check, &output));
    }
    let mut write = tools::command("debugfs");
    run(write.args(["-w", "-f", "-"]).arg(partition), "e2fsprogs", Some(&script))?;
    // debugfs ends with 0 whatever happened; ask the file system.
    let mut stat = tools::command("debugfs");
    stat.arg("-R").arg(format!("stat \"/{path}\"")).arg(partition);
    let output = stat.output().map_err(|error| missing("debugfs", "e2fsprogs", error))?;
    let size = format!("Size: {}", fs::metadata(content)?.len());
    match String::from_utf8_lossy(&output.stdout).contains(&size) {
        true => Ok(()),
        false => Err(io::Error::other("debugfs could not write it; is the partition full?")),
    }
}

/// Whether e2fsck left a good file system: 0 is untouched, 1 is repaired, and its other codes
/// are sums that may hold the bit of 1.
fn is_sound(status: ExitStatus) -> bool {
    matches!(status.code(), Some(0 | 1))
}

pub(super) fn run(command: &mut Command, package: &str, input: Option<&str>) -> io::Result<()> {
    let output = ended(command, package, input)?;
    if output.status.success() { Ok(()) } else { Err(told(command, &output)) }
}

fn ended(command: &mut Command, package: &str, input: Option<&str>) -> io::Result<Output> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| missing(&name_of(command), package, error))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}

fn told(command: &Command, output: &Output) -> io::Error {
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    io::Error::other(format!("{} ended with {}: {said}", name_of(command), output.status))
}

/// The tool's name without folders.
fn name_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn missing(tool: &str, package: &str, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::other(format!("{tool} is not installed; install the package {package}"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn only_a_repaired_file_system_is_as_good_as_a_sound_one() {
        let sound = |code: i32| is_sound(ExitStatus::from_raw(code << 8));
        assert_eq!(
            [0, 1, 2, 4, 8, 12, 16, 128].map(sound),
            [true, true, false, false, false, false, false, false]
        );
        assert!(!is_sound(ExitStatus::from_raw(9)), "a killed e2fsck has checked nothing");
    }
}
