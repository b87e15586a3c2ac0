//! A live machine: started, watched, ended. What it is made of stands in `machine` and `launch`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hil_core::deadline::secs;
use hil_core::parts::Scheduled;
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::emulator::Emulator;
use crate::error::QemuError;
use crate::launch::{Begin, LaunchSpec, command_line};
use crate::loss::{Loss, Watched, last_lines, watch_over};
use crate::machine::{AccelKind, Machine};
use crate::ports::{Forward, parse_usernet};
use crate::qmp::Qmp;
use crate::rundir::RunDir;
use crate::serial::line;
use crate::spawn::{Child, ended, spawn};

/// The environment variable by which the keeper knows a run's processes.
pub const RUN_VARIABLE: &str = "HIL_RUN";

pub(crate) const ANSWER: Duration = secs(10);
/// The kernel needs a while for a process that holds much memory.
const REAP: Duration = secs(10);

/// A QEMU process under hil's hands. Dropping it kills it.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    qmp: Qmp,
    binary: String,
    accel: AccelKind,
    forwards: Vec<Forward>,
    stderr: PathBuf,
    /// Set before hil ends the machine itself: then its end is no loss.
    asked: Arc<AtomicBool>,
    loss: watch::Receiver<Option<Loss>>,
}

/// A machine that has just been started, and its serial console from the very first byte.
#[derive(Debug)]
pub struct Started {
    pub qemu: Qemu,
    pub console: UnixStream,
}

impl Qemu {
    /// Starts a machine, connects its console and its monitor, and lets the guest run, unless it
    /// is to begin from what was saved: then [`Qemu::load`] and [`Qemu::resume`] follow.
    pub async fn start(
        emulator: &Emulator,
        machine: &Machine,
        spec: &LaunchSpec,
        run: &RunDir,
    ) -> Result<Started, QemuError> {
        let arguments = command_line(machine, spec)?;
        let console = listen(&spec.console)?;
        let monitor = listen(&spec.qmp)?;
        let stderr = run.file("qemu.stderr");
        let mut command = Command::new(&emulator.path);
        command.args(arguments).env(RUN_VARIABLE, run.run_id()).env("LC_ALL", "C");
        let starting = Starting::new(command, emulator.name(), stderr, spec.patience)?;
        let console = starting.opened(&console, "console").await?;
        let console = line(console).map_err(QemuError::io("read the console at", &spec.console))?;
        let monitor = starting.opened(&monitor, "monitor").await?;
        // Nobody connects a second time, and the next start needs the names again.
        let _ = (fs::remove_file(&spec.console), fs::remove_file(&spec.qmp));
        let qmp = starting.greeted(monitor).await?;
        let mut qemu = Qemu::watched(starting, qmp, spec.accel);
        qemu.find_forwards(&spec.forwards).await?;
        if !spec.paused && !matches!(spec.begin, Begin::Saved { .. }) {
            // A guest that ends in its first milliseconds has been watched from the first.
            qemu.resume().await?;
        }
        Ok(Started { qemu, console })
    }

    fn watched(starting: Starting, qmp: Qmp, accel: AccelKind) -> Qemu {
        let Starting { child, binary, stderr, .. } = starting;
        let asked = Arc::new(AtomicBool::new(false));
        let (lost, loss) = watch::channel(None);
        tokio::spawn(watch_over(Watched {
            exit: child.exit(),
            events: qmp.events(),
            qmp: qmp.clone(),
            asked: asked.clone(),
            binary: binary.clone(),
            stderr: stderr.clone(),
            lost,
        }));
        Qemu { child, qmp, binary, accel, forwards: Vec::new(), stderr, asked, loss }
    }

    /// Lets a guest run that stands still.
    pub async fn resume(&self) -> Result<(), QemuError> {
        self.qmp.execute("cont", json!({}), ANSWER).await?;
        Ok(())
    }

    async fn find_forwards(&mut self, wanted: &[u16]) -> Result<(), QemuError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let said = self.monitor("info usernet").await?;
        let found = parse_usernet(&said);
        for &guest_port in wanted {
            let forward = found.iter().find(|forward| forward.guest == guest_port);
            let missing = || QemuError::NoForward { guest_port, said: said.trim().into() };
            self.forwards.push(*forward.ok_or_else(missing)?);
        }
        Ok(())
    }

    /// Runs a command of the human monitor, for what QMP does not have.
    pub async fn monitor(&self, line: &str) -> Result<String, QemuError> {
        let arguments = json!({ "command-line": line });
        let said = self.qmp.execute("human-monitor-command", arguments, ANSWER).await?;
        Ok(said.as_str().unwrap_or_default().to_string())
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// What its threads have had of the host; nothing of a kernel that does not count.
    pub fn scheduled(&self) -> Scheduled {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid()));
        let threads = threads.into_iter().flatten().flatten();
        let told = threads.filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let mut nanoseconds = stat.split(' ').map(|n| n.parse().map(Duration::from_nanos));
            let (ran, waited) = (nanoseconds.next()?.ok()?, nanoseconds.next()?.ok()?);
            Some((thread.file_name().to_str()?.parse().ok()?, (ran, waited)))
        });
        Scheduled(told.collect())
    }

    pub fn accel(&self) -> AccelKind {
        self.accel
    }

    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// The forwarded ports, in the order they were asked for.
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }

    /// `QEMU 10.0.2 (tcg)`.
    pub fn label(&self) -> String {
        format!("QEMU {} ({})", self.qmp.version(), self.accel)
    }

    /// What QEMU wrote to stderr last.
    pub fn said(&self) -> String {
        last_lines(&self.stderr)
    }

    /// Holds `Some` once the machine was lost without hil having ended it.
    pub fn loss(&self) -> watch::Receiver<Option<Loss>> {
        self.loss.clone()
    }

    /// Waits until the machine is lost. Never ends where hil ends the machine itself.
    pub async fn wait_gone(&self) -> Loss {
        let mut loss = self.loss.clone();
        let found = loss.wait_for(Option::is_some).await.ok().and_then(|loss| loss.clone());
        match found {
            Some(loss) => loss,
            None => std::future::pending().await,
        }
    }

    /// Ends the machine as a power cut does, at once, and waits until its process is gone.
    pub async fn kill(&self) -> Result<(), QemuError> {
        self.asked.store(true, Ordering::SeqCst);
        self.child.kill();
        let pid = self.pid();
        let gone = timeout(REAP, self.child.wait()).await;
        gone.map(|_| ()).map_err(|_| QemuError::Unkillable { pid, after: REAP })
    }

    /// Lets QEMU close its disks and end; kills it if it does not within `grace`.
    pub async fn quit(&self, grace: Duration) -> Result<(), QemuError> {
        self.asked.store(true, Ordering::SeqCst);
        // QEMU may close the monitor before the answer is out: only its end counts.
        let _ = self.qmp.execute("quit", json!({}), grace).await;
        if timeout(grace, self.child.wait()).await.is_err() {
            return self.kill().await;
        }
        Ok(())
    }

    /// The emulator's name, for messages.
    pub fn binary(&self) -> &str {
        &self.binary
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.asked.store(true, Ordering::SeqCst);
        self.child.kill();
    }
}

fn listen(path: &Path) -> Result<UnixListener, QemuError> {
    // A machine that was killed while it started leaves its sockets behind.
    let _ = fs::remove_file(path);
    UnixListener::bind(path).map_err(QemuError::io("listen on", path))
}

/// A QEMU process whose channels are not open yet.
struct Starting {
    child: Child,
    binary: String,
    stderr: PathBuf,
    patience: Duration,
}

impl Starting {
    fn new(
        mut command: Command,
        binary: String,
        stderr: PathBuf,
        patience: Duration,
    ) -> Result<Starting, QemuError> {
        let log = File::create(&stderr).map_err(QemuError::io("create", &stderr))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        match spawn(command) {
            Ok(child) => Ok(Starting { child, binary, stderr, patience }),
            Err(why) => Err(QemuError::Spawn { binary, why }),
        }
    }

    /// Waits until QEMU connects, or has ended, or is too slow.
    async fn opened(
        &self,
        listener: &UnixListener,
        channel: &'static str,
    ) -> Result<UnixStream, QemuError> {
        let connected = async {
            tokio::select! {
                stream = listener.accept() => stream.map(|(stream, _)| stream),
                status = self.child.wait() => return Err(self.ended_early(status)),
            }
            .map_err(QemuError::io("accept QEMU on its", channel))
        };
        let mute = || QemuError::Mute {
            binary: self.binary.clone(),
            channel,
            within: self.patience,
            said: self.said(),
        };
        timeout(self.patience, connected).await.map_err(|_| mute())?
    }

    /// Enters the monitor's command mode. Where that fails because QEMU ended, its end is told.
    async fn greeted(&self, monitor: UnixStream) -> Result<Qmp, QemuError> {
        let error = match Qmp::connect(monitor, self.patience).await {
            Ok(qmp) => return Ok(qmp),
            Err(error) => error,
        };
        match timeout(secs(1), self.child.wait()).await {
            Ok(status) => Err(self.ended_early(status)),
            Err(_) => Err(error.into()),
        }
    }

    fn ended_early(&self, status: ExitStatus) -> QemuError {
        let binary = self.binary.clone();
        QemuError::EndedEarly { binary, ended: ended(status), said: self.said() }
    }

    fn said(&self) -> String {
        let said = last_lines(&self.stderr);
        if said.is_empty() { "it said nothing".into() } else { said }
    }
}
