//! Runs a program of the host for the storage drivers: its output line by line, a deadline, a way
//! to stop it, and an end with hil's own. What the program is for is its caller's business.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hil_core::deadline::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, kill_process_group, pidfd_open,
    set_parent_process_death_signal,
};

use crate::error::DriverError;

/// How soon a raised flag is noticed while a program is silent.
const NOTICE: Duration = Duration::from_millis(100);

/// How much of what a program prints is kept for its caller; all of it is told line by line.
const KEPT: usize = 64 << 10;

/// A line longer than this is told in pieces.
const LONGEST_LINE: usize = 4096;

/// Variables a program is started with, beside those of hil itself.
pub type Env = [(String, String)];

/// One run of one program.
pub(crate) struct Errand<'e> {
    /// Program and arguments, without a shell.
    pub(crate) argv: &'e [String],
    pub(crate) env: &'e Env,
    pub(crate) deadline: Deadline,
    /// Raised by another thread to have the program killed.
    pub(crate) cancel: Option<&'e AtomicBool>,
    /// Is told each line, stdout and stderr alike; a carriage return ends a line, too.
    pub(crate) line: &'e dyn Fn(&str),
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The first [`KEPT`] bytes of stdout.
    pub(crate) stdout: String,
    /// The last lines of both, for a message.
    pub(crate) last: String,
}

impl Ended {
    /// Status 0, or an error that quotes what the program said.
    pub(crate) fn ok(self, argv: &[String]) -> Result<Ended, DriverError> {
        if self.status.success() {
            return Ok(self);
        }
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("it ended with status {code}"),
            (None, signal) => format!("it was killed by signal {}", signal.unwrap_or_default()),
        };
        Err(DriverError::new(format!("run `{}`: {how}{}", argv.join(" "), said(&self.last))))
    }
}

fn said(last: &str) -> String {
    if last.is_empty() { " and said nothing".into() } else { format!(": {last}") }
}

impl Errand<'_> {
    /// Runs the program to its end. Blocks; past the deadline, or once `cancel` is raised, the
    /// program and its process group are killed. Nothing of its group outlives the call.
    pub(crate) fn run(&self) -> Result<Ended, DriverError> {
        let mut running = Running::start(self)?;
        let cut_short = running.follow(self);
        let status = running.end();
        let (stdout, last) = running.output(self.line);
        let name = self.argv.join(" ");
        let failed = |why: &str| Err(DriverError::new(format!("run `{name}`: {why}")));
        match cut_short {
            Ok(None) => Ok(Ended { status, stdout, last }),
            Ok(Some(Cut::Stopped)) => failed("stopped"),
            Ok(Some(Cut::Late)) => {
                let within = self.deadline;
                failed(&format!("it did not end within {within} and was killed{}", said(&last)))
            }
            Err(why) => failed(&format!("its output could not be read: {why}")),
        }
    }
}

/// Why a program was not let run to its end.
enum Cut {
    Late,
    Stopped,
}

struct Running {
    child: Child,
    /// Readable once the program has ended.
    exit: OwnedFd,
    streams: [Option<File>; 2],
    lines: [Lines; 2],
    stdout: Vec<u8>,
    last: Vec<String>,
}

impl Running {
    fn start(errand: &Errand<'_>) -> Result<Running, DriverError> {
        let Some((program, arguments)) = errand.argv.split_first() else {
            return Err(DriverError::new("run a program: the command is empty"));
        };
        let failed = |why: &dyn std::fmt::Display| {
            DriverError::new(format!("run `{}`: {why}", errand.argv.join(" ")))
        };
        let Some(path) = find(program, errand.env) else {
            return Err(failed(&format!("`{program}` is not installed or cannot be executed")));
        };
        let mut command = Command::new(path);
        command.args(arguments).envs(errand.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        die_with_this_thread(&mut command);
        let mut child = command.spawn().map_err(|why| failed(&why))?;
        let streams = [
            child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe))),
            child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe))),
        ];
        let exit = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(exit) => exit,
            Err(why) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(&why));
            }
        };
        let lines = [Lines::default(), Lines::default()];
        Ok(Running { child, exit, streams, lines, stdout: Vec::new(), last: Vec::new() })
    }

    /// Passes output on until the program ends or is to be ended.
    fn follow(&mut self, errand: &Errand<'_>) -> Result<Option<Cut>, std::io::Error> {
        loop {
            if errand.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                return Ok(Some(Cut::Stopped));
            }
            if errand.deadline.passed() {
                return Ok(Some(Cut::Late));
            }
            let (ended, heard) = self.wait(errand.deadline.left().min(NOTICE), errand.line)?;
            if ended {
                self.kill();
            }
            // What a program printed before its end is in the pipe by then.
            if ended && !heard {
                return Ok(None);
            }
        }
    }

    /// Kills what is left of the process group.
    fn kill(&self) {
        // Not reaped yet, so the group's number is still its own.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }

    /// One wait for output or the end: whether it has ended, and whether it was heard.
    fn wait(&mut self, most: Duration, tell: &dyn Fn(&str)) -> std::io::Result<(bool, bool)> {
        let mut fds = vec![PollFd::new(&self.exit, PollFlags::IN)];
        let open: Vec<usize> = (0..2).filter(|nth| self.streams[*nth].is_some()).collect();
        let streams = self.streams.iter().flatten();
        fds.extend(streams.map(|stream| PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)));
        let timeout = Timespec::try_from(most).map_err(std::io::Error::other)?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let mut heard = false;
        for (nth, ready) in open.into_iter().zip(&ready[1..]) {
            if *ready {
                heard |= self.hear(nth, tell)?;
            }
        }
        Ok((ready[0], heard))
    }

    fn hear(&mut self, nth: usize, tell: &dyn Fn(&str)) -> std::io::Result<bool> {
        let Some(stream) = &mut self.streams[nth] else { return Ok(false) };
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            self.streams[nth] = None;
            return Ok(false);
        }
        if nth == 0 {
            let room = KEPT.saturating_sub(self.stdout.len());
            self.stdout.extend_from_slice(&buffer[..n.min(room)]);
        }
        let last = &mut self.last;
        self.lines[nth].take(&buffer[..n], &mut |line| told(last, tell, line));
        Ok(true)
    }

    fn end(&mut self) -> ExitStatus {
        self.kill();
        self.child.wait().unwrap_or_default()
    }

    fn output(&mut self, tell: &dyn Fn(&str)) -> (String, String) {
        let last = &mut self.last;
        for lines in &mut self.lines {
            lines.rest(&mut |line| told(last, tell, line));
        }
        (String::from_utf8_lossy(&self.stdout).into_owned(), last.join(" / "))
    }
}

fn told(last: &mut Vec<String>, tell: &dyn Fn(&str), line: &str) {
    tell(line);
    if last.len() == 4 {
        last.remove(0);
    }
    last.push(line.to_string());
}

/// Cuts a stream into lines without control characters; empty ones are left out.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], each: &mut dyn FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.rest(each),
                byte => self.rest.push(*byte),
            }
            if self.rest.len() >= LONGEST_LINE {
                self.rest(each);
            }
        }
    }

    fn rest(&mut self, each: &mut dyn FnMut(&str)) {
        let text: String = String::from_utf8_lossy(&self.rest)
            .chars()
            .filter(|c| !c.is_control() || *c == '\t')
            .collect();
        self.rest.clear();
        if !text.trim().is_empty() {
            each(text.trim_end());
        }
    }
}

/// Where a program is, by the PATH of `env` or of hil.
pub(crate) fn find(program: &str, env: &Env) -> Option<PathBuf> {
    let fits = |path: &Path| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| fits(path));
    }
    let theirs = env.iter().rev().find(|(key, _)| key == "PATH");
    let path = theirs.map(|(_, value)| value.into()).or_else(|| std::env::var_os("PATH"))?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| fits(path))
}

/// The kernel kills the program when the calling thread ends; that thread waits for the program,
/// so it ends before it only with hil.
#[expect(unsafe_code, reason = "pre_exec runs between fork and exec and is unsafe by nature")]
fn die_with_this_thread(command: &mut Command) {
    let parent = getpid();
    let at_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before the line above sends no signal any more.
        if getppid() == Some(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: the closure makes two system calls and neither allocates nor locks.
    unsafe { command.pre_exec(at_exec) };
}
