//! Any program as a switch. It is killed, with what it started, when it takes too long.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};

use hil_core::deadline::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PATIENCE, Switch, failure};
use crate::error::DriverError;

/// How much of what a program prints is kept.
const KEPT: usize = 16 * 1024;

/// `[power.command]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments that close the contact.
    #[schemars(length(min = 1))]
    pub on: Vec<String>,
    /// Program and arguments that open it.
    #[schemars(length(min = 1))]
    pub off: Vec<String>,
    /// Prints `on` or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub get: Option<Vec<String>>,
}

/// Runs a program to its end; what it printed on stdout.
fn run(argv: &[String]) -> Result<String, String> {
    let (program, arguments) = argv.split_first().ok_or("the list of its words is empty")?;
    let deadline = Deadline::within(PATIENCE);
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("`{program}` could not be started: {error}"))?;
    let mut said = [Vec::new(), Vec::new()];
    let ended = attend(&mut child, &mut said, &deadline);
    if !matches!(ended, Ok(true)) {
        // The group, so that a child of a script does not go on switching by itself.
        if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    let status = child.wait().map_err(|error| format!("`{program}`: {error}"))?;
    let [out, err] = said.map(|text| String::from_utf8_lossy(&text).into_owned());
    let stderr = match err.trim() {
        "" => String::new(),
        text => format!(", stderr: {}", failure::quote(text)),
    };
    match ended {
        Err(error) => Err(format!("`{program}` could not be watched: {error}{stderr}")),
        Ok(false) => Err(format!("`{program}` was killed: it ran longer than {deadline}{stderr}")),
        Ok(true) if status.success() => Ok(out),
        Ok(true) => Err(format!("`{program}` ended with {}{stderr}", outcome(status))),
    }
}

fn outcome(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Reads what it says until it has ended; false if that is not before the deadline. It is its end
/// that counts, not the pipes': something it left running may hold those.
fn attend(
    child: &mut Child,
    said: &mut [Vec<u8>; 2],
    deadline: &Deadline,
) -> std::io::Result<bool> {
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(std::io::ErrorKind::NotFound)?;
    let life = pidfd_open(pid, PidfdFlags::empty())?;
    let mut out = child.stdout.take();
    let mut err = child.stderr.take();
    loop {
        let (ended, out_ready, err_ready) = {
            let mut watched = vec![PollFd::new(&life, PollFlags::IN)];
            watched.extend(out.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            watched.extend(err.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            let left = Timespec::try_from(deadline.left()).map_err(std::io::Error::other)?;
            match poll(&mut watched, Some(&left)) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
            let after_out = 1 + usize::from(out.is_some());
            let is = |at: usize| ready.get(at).copied().unwrap_or(false);
            (ready[0], out.is_some() && is(1), err.is_some() && is(after_out))
        };
        if out_ready && !take(&mut out, &mut said[0])? {
            out = None;
        }
        if err_ready && !take(&mut err, &mut said[1])? {
            err = None;
        }
        // Only when the pipes hold nothing more: its last words came before its end.
        if ended && !out_ready && !err_ready {
            return Ok(true);
        }
        if deadline.passed() {
            return Ok(ended);
        }
    }
}

/// Reads once from a pipe that is ready; false at its end.
fn take(pipe: &mut Option<impl Read>, said: &mut Vec<u8>) -> std::io::Result<bool> {
    let Some(pipe) = pipe else { return Ok(false) };
    let mut buffer = [0; 4096];
    let count = pipe.read(&mut buffer)?;
    said.extend_from_slice(&buffer[..count.min(KEPT.saturating_sub(said.len()))]);
    Ok(count > 0)
}

impl Switch for Command {
    fn label(&self) -> String {
        format!("command `{}`", self.on.join(" "))
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        let argv = if on { &self.on } else { &self.off };
        let done = run(argv).map(drop);
        done.map_err(|why| {
            DriverError::new(format!("switch {} by its command: {why}", failure::word(on)))
        })
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        let Some(argv) = &self.get else { return Ok(None) };
        let state = run(argv).and_then(|out| match out.trim() {
            "on" => Ok(Some(true)),
            "off" => Ok(Some(false)),
            _ => Err(format!("`{}` must print on or off, not {}", argv[0], failure::quote(&out))),
        });
        state.map_err(|why| DriverError::new(format!("read the state by its command: {why}")))
    }
}
