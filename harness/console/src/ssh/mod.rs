//! `SshShell`: commands and files over SSH. A board that is gone, a server that stalls at any
//! point, a command that floods: each ends at the deadline with an error that says how far it
//! came. Files go through `cat`, since small servers have neither sftp nor scp.

mod aimed;
mod channel;
mod link;
mod worker;

use std::fs::File;
use std::io::{Read, Write, empty};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hil_core::deadline::Deadline;
use hil_core::parts::{Output, Progress, Shell};
use hil_core::trouble::{Outcome, Trouble};
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::transfer::{Cksum, Stamp, quote, stamp_of};
pub use aimed::{Aim, AimedSsh};
pub use link::SshTarget;
use link::{Failure, Step};
use worker::{Wire, Worker};

/// What a command may print; more belongs into a file.
const MOST: usize = 16 << 20;

/// How long past a deadline the thread may take to notice it, before it is left behind.
const GRACE: Duration = Duration::from_secs(1);

/// How long a board's kernel, which takes connections by itself, may need to take one.
const REACH: Duration = Duration::from_secs(5);

/// A shell over SSH.
pub struct SshShell {
    target: SshTarget,
    worker: Option<Worker>,
}

impl SshShell {
    /// Nothing is connected until the first use.
    pub fn new(target: SshTarget) -> SshShell {
        SshShell { target, worker: None }
    }

    /// Runs `work` on the connection's thread. If this future is dropped, or the deadline passes,
    /// or the work fails, the connection is cut off and the next use makes a new one.
    async fn on_wire<T: Send + 'static>(
        &mut self,
        what: &str,
        deadline: Deadline,
        progress: Option<(Progress<'_>, watch::Receiver<(u64, u64)>)>,
        work: impl FnOnce(&mut Wire, Instant) -> Step<T> + Send + 'static,
    ) -> Outcome<T> {
        // Taken out: dropping the future drops the worker, and that cuts the connection.
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self.target.clone())?,
        };
        let until = deadline.instant().into_std();
        let mut answer = worker.begin(move |wire| {
            let result = work(wire, until);
            if result.is_err() {
                wire.hang_up();
            }
            result
        });
        let watched = async {
            let Some((tell, mut steps)) = progress else { return std::future::pending().await };
            while steps.changed().await.is_ok() {
                let (done, of) = *steps.borrow_and_update();
                tell(done, of);
            }
            std::future::pending::<()>().await;
        };
        let result = tokio::select! {
            biased;
            () = watched => None,
            result = timeout_at(deadline.instant() + GRACE, &mut answer) => Some(result),
        };
        match result {
            Some(Ok(Ok(Ok(value)))) => {
                self.worker = Some(worker);
                Ok(value)
            }
            Some(Ok(Ok(Err(Failure::Late(why))))) => {
                Err(Trouble::unmet(format!("{what} did not end within {deadline}: {why}")))
            }
            Some(Ok(Ok(Err(failure)))) => {
                // Only the connection failed; the thread can make another.
                self.worker = Some(worker);
                Err(failure.trouble().while_doing(what))
            }
            Some(Ok(Err(_))) | None => Err(Trouble::rack(format!("{what}: the SSH thread ended"))),
            Some(Err(_)) => Err(Trouble::unmet(format!("{what} did not end within {deadline}"))),
        }
    }

    /// Runs `work` that is the board's to end. A deadline that passes says nothing of the product where
    /// not even its kernel can be reached any more: then the network may have gone.
    async fn at_work<T: Send + 'static>(
        &mut self,
        what: &str,
        deadline: Deadline,
        progress: Option<(Progress<'_>, watch::Receiver<(u64, u64)>)>,
        work: impl FnOnce(&mut Wire, Instant) -> Step<T> + Send + 'static,
    ) -> Outcome<T> {
        self.open(deadline).await?;
        let ended = self.on_wire(what, deadline, progress, work).await;
        let Err(Trouble::Unmet(why)) = ended else { return ended };
        match self.reached().await {
            Err(lost) => Err(Trouble::transport(format!("{why}; {lost}"))),
            Ok(()) => Err(Trouble::unmet(why)),
        }
    }
}

/// Runs a command with its output in memory.
fn collect(wire: &mut Wire, command: &str, until: Instant) -> Step<Output> {
    let begun = Instant::now();
    let mut out = [Vec::new(), Vec::new()];
    let mut take = |is_stderr: bool, bytes: &[u8]| {
        if out[0].len() + out[1].len() + bytes.len() > MOST {
            return Err(Failure::Host(format!(
                "the command printed more than {} MiB; let it write to a file",
                MOST >> 20
            )));
        }
        out[usize::from(is_stderr)].extend_from_slice(bytes);
        Ok(())
    };
    let status = wire.link(until)?.run(command, &mut empty(), &mut take, until)?;
    let [stdout, stderr] = out;
    Ok(Output { status, stdout, stderr, took: begun.elapsed() })
}

/// Runs one of our own commands, which must succeed.
fn must(wire: &mut Wire, command: &str, until: Instant) -> Step<String> {
    let output = collect(wire, command, until)?;
    if !output.ok() {
        return Err(Failure::Refused(output.said()));
    }
    Ok(output.text())
}

fn stamp(wire: &mut Wire, word: &str, until: Instant) -> Step<Stamp> {
    let told = must(wire, &stamp_of(word), until)?;
    Stamp::parse(&told).ok_or_else(|| Failure::Line(format!("not told a size but `{told}`")))
}

/// Counts and sums what is read, and tells how far it is.
struct Counted<'c> {
    file: File,
    sum: &'c mut Cksum,
    len: u64,
    steps: &'c watch::Sender<(u64, u64)>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.sum.add(&buffer[..n]);
        self.steps.send_replace((self.sum.len(), self.len));
        Ok(n)
    }
}

fn upload(
    wire: &mut Wire,
    file: File,
    remote: &str,
    steps: &watch::Sender<(u64, u64)>,
    until: Instant,
) -> Step {
    let len = file.metadata().map_err(|why| Failure::Host(why.to_string()))?.len();
    let (mut sum, mut said) = (Cksum::default(), Vec::new());
    let mut input = Counted { file, sum: &mut sum, len, steps };
    let mut take = |_: bool, bytes: &[u8]| {
        said.extend_from_slice(&bytes[..bytes.len().min(4096_usize.saturating_sub(said.len()))]);
        Ok(())
    };
    let word = quote(remote);
    let command = format!("cat >{word}");
    let status = wire.link(until)?.run(&command, &mut input, &mut take, until)?;
    if status != 0 {
        return Err(Failure::Refused(String::from_utf8_lossy(&said).trim().to_string()));
    }
    let there = stamp(wire, &word, until)?;
    match there.fits(&sum) {
        true => Ok(()),
        false => Err(Failure::Line(format!(
            "{} bytes were sent, but the board has {} or others",
            sum.len(),
            there.len
        ))),
    }
}

fn download(
    wire: &mut Wire,
    remote: &str,
    mut file: File,
    steps: &watch::Sender<(u64, u64)>,
    until: Instant,
) -> Step {
    let word = quote(remote);
    let there = stamp(wire, &word, until)?;
    let (mut sum, mut said) = (Cksum::default(), Vec::new());
    let mut take = |is_stderr: bool, bytes: &[u8]| {
        if is_stderr {
            let room = 4096_usize.saturating_sub(said.len());
            said.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return Ok(());
        }
        sum.add(bytes);
        steps.send_replace((sum.len(), there.len));
        file.write_all(bytes).map_err(|why| Failure::Host(format!("write the local file: {why}")))
    };
    let command = format!("cat <{word}");
    let status = wire.link(until)?.run(&command, &mut empty(), &mut take, until)?;
    if status != 0 {
        return Err(Failure::Refused(String::from_utf8_lossy(&said).trim().to_string()));
    }
    match there.fits(&sum) {
        true => Ok(()),
        false => Err(Failure::Line("the file changed while it was read".into())),
    }
}

#[async_trait]
impl Shell for SshShell {
    fn name(&self) -> &'static str {
        "ssh"
    }

    async fn open(&mut self, deadline: Deadline) -> Outcome {
        let work = |wire: &mut Wire, until| wire.link(until).map(drop);
        let late = |why| Trouble::transport(format!("SSH login: {why}"));
        match self.on_wire("SSH login", deadline, None, work).await {
            // A server that never answered is a channel that failed, not yet the product's silence.
            Err(Trouble::Unmet(why)) => Err(late(why)),
            other => other,
        }
    }

    async fn reached(&mut self) -> Outcome {
        let address = self.target.address;
        let connect = move || TcpStream::connect_timeout(&address, REACH);
        match tokio::task::spawn_blocking(connect).await {
            Ok(Err(lost)) => Err(Trouble::transport(format!("{address}: connect: {lost}"))),
            _ => Ok(()),
        }
    }

    async fn exec(&mut self, command: &str, deadline: Deadline) -> Outcome<Output> {
        let text = command.to_string();
        let work = move |wire: &mut Wire, until: Instant| collect(wire, &text, until);
        let head: String = command.chars().take(80).collect();
        self.at_work(&format!("`{head}` over SSH"), deadline, None, work).await
    }

    async fn upload(
        &mut self,
        local: &Path,
        remote: &str,
        progress: Progress<'_>,
        deadline: Deadline,
    ) -> Outcome {
        let what = format!("upload of {} to {remote} over SSH", local.display());
        let file = File::open(local).map_err(|why| Trouble::rack(format!("{what}: {why}")))?;
        let (steps, receiver) = watch::channel((0, 0));
        let remote = remote.to_string();
        let work = move |wire: &mut Wire, until| upload(wire, file, &remote, &steps, until);
        self.at_work(&what, deadline, Some((progress, receiver)), work).await
    }

    async fn download(
        &mut self,
        remote: &str,
        local: &Path,
        progress: Progress<'_>,
        deadline: Deadline,
    ) -> Outcome {
        let what = format!("download of {remote} to {} over SSH", local.display());
        let file = File::create(local).map_err(|why| Trouble::rack(format!("{what}: {why}")))?;
        let (steps, receiver) = watch::channel((0, 0));
        let remote = remote.to_string();
        let work = move |wire: &mut Wire, until| download(wire, &remote, file, &steps, until);
        self.at_work(&what, deadline, Some((progress, receiver)), work).await
    }

    async fn dial(
        &mut self,
        to: SocketAddr,
        request: &[u8],
        deadline: Deadline,
    ) -> Outcome<Vec<u8>> {
        let request = request.to_vec();
        let work = move |wire: &mut Wire, until| wire.link(until)?.dial(to, &request, MOST, until);
        self.at_work(&format!("port {} of the board", to.port()), deadline, None, work).await
    }

    fn forget(&mut self) {
        self.worker = None;
    }
}
