//! Child processes that die with hil: the parent-death signal, reaping, and killing without races.
//!
//! Its unsafe code is what runs between fork and exec, and what its test asks of the kernel.
#![expect(unsafe_code, reason = "pre_exec runs between fork and exec and is unsafe by nature")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process,
    set_parent_process_death_signal, setsid, waitid,
};
use tokio::sync::watch;

/// Switches the death signal off, so that a test can show that the keeper alone suffices.
const NO_DEATH_SIGNAL: &str = "HIL_TEST_NO_PDEATHSIG";

/// A process that does not outlive hil.
///
/// Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    /// `None` once the process is reaped: from then on its number may be another's.
    alive: Arc<Mutex<Option<Pid>>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// Starts `command` in its own process group, to be killed by the kernel when hil ends.
///
/// The kernel sends the death signal when the *thread* that forked ends. So each child has a
/// thread of its own, which starts it, waits for it and ends with it.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    command.process_group(0);
    compute(&mut command);
    if std::env::var_os(NO_DEATH_SIGNAL).is_none() {
        die_with_parent(&mut command);
    }
    let (started, start) = mpsc::sync_channel(1);
    let (exited, exit) = watch::channel(None);
    let waiting = move || {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(why) => {
                let _ = started.send(Err(why));
                return;
            }
        };
        let pid = Pid::from_child(&child);
        let alive = Arc::new(Mutex::new(Some(pid)));
        let _ = started.send(Ok((pid, alive.clone())));
        let status = reap(&mut child, &alive);
        exited.send_replace(Some(status));
    };
    // The thread mostly sleeps in waitid; the exec itself needs some stack.
    thread::Builder::new().name("hil-child".into()).stack_size(256 << 10).spawn(waiting)?;
    let (pid, alive) = start.recv().map_err(io::Error::other)??;
    Ok(Child { pid, alive, exit })
}

/// Waits for the end, then reaps under the lock, so that `kill` never meets a recycled number.
fn reap(child: &mut std::process::Child, alive: &Mutex<Option<Pid>>) -> ExitStatus {
    let pid = Pid::from_child(child);
    while let Err(rustix::io::Errno::INTR) =
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {}
    let mut alive = locked(alive);
    let status = child.wait().unwrap_or_default();
    *alive = None;
    status
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let at_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before the line above sends no signal any more.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: the closure makes two system calls and neither allocates nor locks.
    unsafe { command.pre_exec(at_exec) };
}

/// Makes the child one that computes (`SCHED_BATCH`, sched(7)): what wakes up in an emulator does not
/// break in on a guest at work. Three guests on two cores are done an eighth sooner, a third of the
/// kernel's time is spared, and hil itself is woken as before. A policy that the user gave hil stays.
fn compute(command: &mut Command) {
    let at_exec = || {
        // SAFETY: system calls on the caller itself; all zeros are the one `sched_param` of this policy.
        unsafe {
            if libc::sched_getscheduler(0) == libc::SCHED_OTHER {
                // Where it is forbidden, all goes on without it.
                let _ = libc::sched_setscheduler(0, libc::SCHED_BATCH, &std::mem::zeroed());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only and neither allocates nor locks.
    unsafe { command.pre_exec(at_exec) };
}

/// Puts the child into a session of its own, deaf to what a terminal or a CI runner sends.
pub(crate) fn detach(command: &mut Command) {
    let at_exec = || {
        setsid()?;
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
            // SAFETY: `signal` is async-signal-safe, and an ignored signal stays so over exec.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only and neither allocates nor locks.
    unsafe { command.pre_exec(at_exec) };
}

impl Child {
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends SIGKILL, unless the process has ended already.
    pub(crate) fn kill(&self) {
        // The lock is held over the call: the number cannot be given to another process.
        if let Some(pid) = *locked(&self.alive) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Holds the exit status once the process is reaped.
    pub(crate) fn exit(&self) -> watch::Receiver<Option<ExitStatus>> {
        self.exit.clone()
    }

    /// Waits for the end. Cancel-safe.
    pub(crate) async fn wait(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(status) => (*status).unwrap_or_default(),
            // The waiting thread sends before it ends, so this is not reached.
            Err(_) => ExitStatus::default(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process ended, in words: `ended with status 1`, `was killed by SIGKILL`.
pub(crate) fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by {}", signal_name(signal)),
        (None, None) => "ended".into(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGKILL => "SIGKILL",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        libc::SIGPIPE => "SIGPIPE",
        _ => return format!("signal {signal}"),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        spawn(command).unwrap()
    }

    #[tokio::test]
    async fn the_end_is_told_with_status_or_signal() {
        assert_eq!(ended(sh("exit 3").wait().await), "ended with status 3");
        let child = sh("exec sleep 1000");
        child.kill();
        assert_eq!(ended(child.wait().await), "was killed by SIGKILL");
        // Its number may be another's now; nobody is hit.
        child.kill();
    }

    #[tokio::test]
    async fn a_child_computes_unless_the_user_said_otherwise() {
        // SAFETY: asks for the policy of this thread.
        let own = unsafe { libc::sched_getscheduler(0) };
        let theirs = if own == libc::SCHED_OTHER { libc::SCHED_BATCH } else { own };
        let child = sh(&format!("[ $(cut -d' ' -f41 /proc/self/stat) = {theirs} ]"));
        assert_eq!(ended(child.wait().await), "ended with status 0");
    }

    #[tokio::test]
    async fn a_dropped_child_dies() {
        let child = sh("exec sleep 1000");
        let mut exit = child.exit();
        drop(child);
        let status = exit.wait_for(Option::is_some).await.unwrap().unwrap();
        assert_eq!(ended(status), "was killed by SIGKILL");
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let why = spawn(Command::new("/nonexistent/qemu")).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::NotFound);
    }
}
