//! What the tests of the binary share: running hil, finding images, and waiting for events.
#![expect(dead_code, reason = "each test binary uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a test that needs it has failed anyway.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

pub(crate) fn hil() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hil"));
    unasked(&mut command);
    command
}

/// Nobody types, and nobody's CI is told: tests of GitHub's files set these themselves.
pub(crate) fn unasked(command: &mut Command) {
    command.stdin(Stdio::null());
    for name in ["GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"] {
        command.env_remove(name);
    }
}

/// Whether something is there; where tests must not be skipped, its absence is a failure.
pub(crate) fn present(there: bool, what: &str, how: &str) -> bool {
    let required = ["HIL_TEST_REQUIRE", "CI"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(there || !required, "{what} is missing: {how} installs it");
    if !there {
        eprintln!("SKIPPED: {what} is missing; {how} installs it");
    }
    there
}

/// A program of this test's own.
pub(crate) fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// How a run of hil ended, with all it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// stdout alone.
    pub(crate) out: String,
    /// stdout and stderr.
    pub(crate) said: String,
}

pub(crate) fn ended(output: Output) -> Ended {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = [output.stdout, output.stderr].concat();
    Ended { code: output.status.code(), out, said: String::from_utf8_lossy(&said).into_owned() }
}

pub(crate) fn run(command: &mut Command) -> Ended {
    ended(command.output().unwrap())
}

pub(crate) fn cache() -> PathBuf {
    let set = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    set.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache")).join("hil")
}

/// The folder of a demo image, which `ci/test` has built before the tests.
pub(crate) fn demo(arch: &str, variant: &str) -> PathBuf {
    demo_for(arch, variant, None)
}

/// The same for a board of its own instead of QEMU's `virt`.
pub(crate) fn demo_for(arch: &str, variant: &str, board: Option<&str>) -> PathBuf {
    let suffix = board.map_or(String::new(), |board| format!("-{board}"));
    let dir = cache().join(format!("images/demo-os/{arch}-{variant}{suffix}"));
    let option = board.map_or(String::new(), |board| format!(" --board {board}"));
    let build = format!("fixtures/demo-os/build --arch {arch} --variant {variant}{option}");
    assert!(dir.join("image.toml").exists(), "no demo image; run: {build}");
    dir
}

/// The kernel and initrd of fixtures/examples, made once; its command line says what it does.
pub(crate) fn example(arch: &str) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = cache().join(format!("images/example/{arch}"));
    let made = Command::new(root().join("fixtures/examples/kernel-initrd/make"))
        .args([arch, dir.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    dir
}

/// Writes a manifest for the example kernel that does `what`, with `more` TOML at its end.
pub(crate) fn example_doing(dir: &Path, arch: &str, what: &str, more: &str) -> PathBuf {
    let example = example(arch);
    let console = if arch == "x86_64" { "ttyS0" } else { "ttyAMA0" };
    let manifest = format!(
        "name = \"example\"\narch = \"{arch}\"\n[boot.kernel]\nfile = \"{0}/vmlinuz\"\n\
         initrd = \"{0}/initrd.cpio.gz\"\ncmdline = \"console={console} panic=-1 hil.do={what}\"\n{more}",
        example.display()
    );
    let file = dir.join("image.toml");
    std::fs::write(&file, manifest).unwrap();
    file
}

/// The events of one board so far, a line each.
pub(crate) fn events(out: &Path, board: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(out.join(board).join("events.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A run in the background; killed if the test ends before it.
pub(crate) struct Background {
    pub(crate) child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    pub(crate) said: String,
}

impl Background {
    pub(crate) fn start(command: &mut Command) -> Background {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let out = child.stdout.take().unwrap();
        let err = child.stderr.take().unwrap();
        let other = sender.clone();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).for_each(|l| drop(sender.send(l)));
        });
        std::thread::spawn(move || {
            BufReader::new(err).lines().map_while(Result::ok).for_each(|l| drop(other.send(l)));
        });
        Background { child, lines, said: String::new() }
    }

    /// Waits for a line that contains `text`.
    pub(crate) fn says(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said += &format!("{line}\n");
                    if line.contains(text) {
                        return;
                    }
                }
                Err(why) => panic!("never said `{text}` ({why}):\n{}", self.said),
            }
        }
    }

    /// Waits for its end; all it said.
    pub(crate) fn ends(mut self) -> Ended {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said += &format!("{line}\n");
        }
        let code = self.child.wait().unwrap().code();
        Ended { code, out: String::new(), said: std::mem::take(&mut self.said) }
    }

    /// The emulators whose parent is this run.
    pub(crate) fn emulators(&self) -> Vec<i32> {
        children(self.child.id() as i32)
            .into_iter()
            .filter(|pid| name_of(*pid).starts_with("qemu-system"))
            .collect()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn name_of(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_string()
}

fn children(parent: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold blanks; what follows it does not.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        if after.split_whitespace().nth(1) == Some(&parent.to_string()) {
            found.push(pid);
        }
    }
    found
}

/// Whether a process is there and no zombie.
pub(crate) fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map_or("", |(_, after)| after).trim_start();
    !state.is_empty() && !state.starts_with('Z')
}

/// Waits until `done` says so; how long it took.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        // A process offers no event to those who are not its parent.
        std::thread::sleep(Duration::from_millis(10));
    }
    begun.elapsed()
}

pub(crate) fn signal(pid: i32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -s {name} {pid}");
}

pub(crate) fn junit(out: &Path) -> String {
    std::fs::read_to_string(out.join("junit.xml")).unwrap()
}
