//! The keeper: a process that ends a run's machines when hil itself could not.
//!
//! hil holds one end of a pipe. When hil ends, in whatever way, the kernel closes it, and the
//! keeper kills every process that carries the run's name in its environment. A list of
//! processes would lack the one that was started when hil died; the environment cannot.
//!
//! The parent-death signal (`spawn`) does the same by another way; each is enough alone.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, geteuid, getpid, kill_process, pidfd_open, pidfd_send_signal,
};

use crate::error::QemuError;
use crate::live::RUN_VARIABLE;
use crate::rundir::{check_run_id, remove};

const READY: &str = "keeper ready";
const DONE: &[u8] = b"done\n";
/// Starting a process takes milliseconds; this is for hosts under heavy load.
const START: Duration = Duration::from_secs(20);

/// hil's side: dropping it without [`Keeper::done`] makes the keeper clean up.
#[derive(Debug)]
pub struct Keeper {
    process: Child,
    line: Option<ChildStdin>,
}

impl Keeper {
    /// Starts `command`, which must call [`keeper_main`], for a run and its folders.
    ///
    /// The run's name and folders are appended as arguments. Returns once the keeper is ready.
    pub fn start(
        mut command: Command,
        run_id: &str,
        folders: &[&Path],
    ) -> Result<Keeper, QemuError> {
        check_run_id(run_id)?;
        command.arg(run_id).args(folders).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        detach(&mut command);
        let failed = |why: String| QemuError::Keeper(why);
        let program = command.get_program().to_string_lossy().into_owned();
        let spawned = command.spawn();
        let mut process = spawned.map_err(|why| failed(format!("{program}: {why}")))?;
        let line = process.stdin.take();
        let mut keeper = Keeper { process, line };
        keeper.await_ready().map_err(|why| failed(format!("{program}: {why}")))?;
        Ok(keeper)
    }

    fn await_ready(&mut self) -> Result<(), String> {
        let mut output = self.process.stdout.take().ok_or("no pipe")?;
        let until = Instant::now() + START;
        let mut said = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if !wait_readable(&output, left) {
                return Err(format!("it was not ready within {} s", START.as_secs()));
            }
            let mut some = [0; 256];
            match output.read(&mut some) {
                Ok(0) => return Err("it ended at once".into()),
                Ok(n) => said.extend_from_slice(&some[..n]),
                Err(why) => return Err(why.to_string()),
            }
            if String::from_utf8_lossy(&said).lines().any(|line| line.ends_with(READY)) {
                return Ok(());
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends the keeper after hil has cleaned up itself.
    pub fn done(mut self) {
        if let Some(mut line) = self.line.take() {
            // A keeper that is gone already has nothing to be told.
            let _ = line.write_all(DONE);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The end of the pipe is the keeper's word to start; then it is reaped.
        drop(self.line.take());
        let _ = self.process.wait();
    }
}

/// Puts a keeper of any kind into a session of its own, deaf to what a terminal or a CI runner
/// sends, and without the mark by which another keeper would end it.
pub fn detach(command: &mut Command) {
    command.env_remove(RUN_VARIABLE);
    crate::spawn::detach(command);
}

/// Ends every process that carries the run's mark; whether none is left.
pub fn end_run(run_id: &str) -> bool {
    check_run_id(run_id).is_ok() && end_all(run_id)
}

/// The keeper's side: `hil keeper RUN FOLDER…`. Standard input is the pipe from hil.
pub fn keeper_main(run_id: &str, folders: &[PathBuf]) -> ExitCode {
    if check_run_id(run_id).is_err() {
        return ExitCode::from(2);
    }
    let mut output = std::io::stdout();
    // On a line of its own, whatever the program that calls this has printed before.
    let _ = writeln!(output, "\n{READY}").and_then(|()| output.flush());
    let mut heard = Vec::new();
    let ended = std::io::stdin().lock().take(64).read_to_end(&mut heard);
    if ended.is_ok() && heard == DONE {
        return ExitCode::SUCCESS;
    }
    let all_gone = end_all(run_id);
    for folder in folders {
        remove(folder, run_id);
    }
    if all_gone { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Kills all processes of the run; whether none was left at the end.
fn end_all(run_id: &str) -> bool {
    /// While a process is being exec'd its environment is empty for a moment, so one look that
    /// finds nobody proves nothing.
    const QUIET_LOOKS: u32 = 4;
    const PAUSE: Duration = Duration::from_millis(50);
    let until = Instant::now() + Duration::from_secs(10);
    let mut quiet = 0;
    while quiet < QUIET_LOOKS {
        if Instant::now() > until {
            return false;
        }
        let victims = processes_of(run_id);
        quiet = if victims.is_empty() { quiet + 1 } else { 0 };
        for victim in &victims {
            victim.kill();
        }
        for victim in &victims {
            victim.wait(Duration::from_secs(1));
        }
        sleep(PAUSE);
    }
    true
}

/// A process, held so that its number cannot become another's.
enum Victim {
    Held(OwnedFd),
    /// Where the kernel or a sandbox has no pidfds.
    Number(Pid),
}

impl Victim {
    fn new(pid: Pid) -> Option<Victim> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Some(Victim::Held(fd)),
            Err(rustix::io::Errno::SRCH) => None,
            Err(_) => Some(Victim::Number(pid)),
        }
    }

    fn kill(&self) {
        // It may have ended meanwhile, which is as good.
        let _ = match self {
            Victim::Held(fd) => pidfd_send_signal(fd, Signal::KILL),
            Victim::Number(pid) => kill_process(*pid, Signal::KILL),
        };
    }

    /// Waits until the process has ended; its sockets and locks are free then.
    fn wait(&self, most: Duration) {
        if let Victim::Held(fd) = self {
            wait_readable(fd, most);
        }
    }
}

fn processes_of(run_id: &str) -> Vec<Victim> {
    let mark = format!("{RUN_VARIABLE}={run_id}");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut victims = Vec::new();
    for entry in entries {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else { continue };
        if pid == getpid() || !entry.metadata().is_ok_and(|d| d.uid() == geteuid().as_raw()) {
            continue;
        }
        // Held before it is looked at: who is killed is who was looked at.
        let Some(victim) = Victim::new(pid) else { continue };
        if has_mark(&entry.path(), mark.as_bytes()) {
            victims.push(victim);
        }
    }
    victims
}

/// Whether a live process has the mark in its environment. A zombie's environment is empty.
fn has_mark(process: &Path, mark: &[u8]) -> bool {
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    environment.split(|&byte| byte == 0).any(|variable| variable == mark)
}

fn wait_readable(fd: &impl std::os::fd::AsFd, most: Duration) -> bool {
    let most = Timespec::try_from(most).ok();
    poll(&mut [PollFd::new(fd, PollFlags::IN)], most.as_ref()).is_ok_and(|ready| ready > 0)
}
