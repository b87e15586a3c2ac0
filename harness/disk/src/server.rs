//! The NBD server of one disk on a unix socket: accepts, shakes hands, and hands over to `conn`. One
//! thread accepts, one sends paced replies, and each of at most four connections has one.

use std::fs::{self, Permissions};
use std::io::{self, BufReader, ErrorKind};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::conn::{Conn, End, Out};
use crate::disk::Disk;
use crate::error::{Error, Fault};
use crate::handshake::{Export, handshake};
use crate::pacer::{Order, Pacer, Replies};

/// Connections served at once; one more is hung up on. Each may cost a buffer of 64 KiB.
const MOST: usize = 4;

/// A client that stalls in the handshake is hung up on after this.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Enough for every call below; the default of 2 MiB would only ever be address space, too.
const STACK: usize = 256 << 10;

/// How a disk is served.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The export's name; clients may leave it out.
    pub name: String,
    pub replies: Replies,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions { name: "disk".into(), replies: Replies::Immediate }
    }
}

/// A running server. Dropping it hangs up on everybody, ends its threads and removes the socket;
/// the disk and everything written stays.
pub struct Server {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

struct Inner {
    disk: Disk,
    export: Export,
    listener: UnixListener,
    path: PathBuf,
    pacer: Pacer,
    stopping: AtomicBool,
    live: Mutex<Vec<(Arc<Out>, JoinHandle<()>)>>,
}

impl Server {
    /// Serves `disk` on a new socket at `path`, for this user only.
    pub fn start(
        path: impl AsRef<Path>,
        disk: Disk,
        options: ServerOptions,
    ) -> Result<Server, Error> {
        let path = path.as_ref().to_owned();
        let fail = |source| Error::Listen { path: path.clone(), source };
        let listener = UnixListener::bind(&path).map_err(fail)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(fail)?;
        let export = Export { name: options.name, size: disk.size(), profile: disk.profile() };
        let inner = Arc::new(Inner {
            disk,
            export,
            listener,
            path: path.clone(),
            pacer: Pacer::new(options.replies),
            stopping: AtomicBool::new(false),
            live: Mutex::new(Vec::new()),
        });
        let mut server = Server { inner: inner.clone(), threads: Vec::new() };
        let (accepting, pacing) = (inner.clone(), inner);
        server.threads.push(spawn("hil-nbd-accept", move || accept(&accepting)).map_err(fail)?);
        server.threads.push(spawn("hil-nbd-reply", move || pacing.pacer.run()).map_err(fail)?);
        Ok(server)
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The disk that it serves.
    pub fn disk(&self) -> &Disk {
        &self.inner.disk
    }

    /// Stops serving at this instant; see [`Disk::freeze`].
    pub fn freeze(&self) {
        self.inner.disk.freeze();
    }

    /// Changes how long replies take from now on.
    pub fn set_replies(&self, replies: Replies) {
        self.inner.pacer.set(replies);
    }

    /// Holds all replies but those to reads, until released: what is submitted is in flight.
    pub fn hold_replies(&self) {
        self.inner.pacer.hold();
    }

    /// Sends what is held, and holds no more.
    pub fn release_replies(&self, order: Order) {
        self.inner.pacer.release(order);
    }

    /// Waits until at least `count` replies are held; says whether they are.
    pub fn wait_held(&self, count: usize, timeout: Duration) -> bool {
        self.inner.pacer.wait_held(count, timeout)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let inner = &self.inner;
        inner.stopping.store(true, Ordering::SeqCst);
        // This wakes the accepting thread; it cannot fail on a listening socket.
        let _ = rustix::net::shutdown(&inner.listener, rustix::net::Shutdown::Both);
        inner.pacer.stop();
        for thread in self.threads.drain(..) {
            // A panic there was printed when it happened.
            let _ = thread.join();
        }
        let live = std::mem::take(&mut *inner.live());
        for (out, _) in &live {
            out.close(Shutdown::Both);
        }
        for (_, thread) in live {
            let _ = thread.join();
        }
        // Somebody may have cleared the directory away before.
        let _ = fs::remove_file(&inner.path);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server {{ {} }}", self.inner.path.display())
    }
}

impl Inner {
    fn live(&self) -> std::sync::MutexGuard<'_, Vec<(Arc<Out>, JoinHandle<()>)>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).stack_size(STACK).spawn(body)
}

fn accept(inner: &Arc<Inner>) {
    loop {
        let accepted = inner.listener.accept();
        if inner.stopping.load(Ordering::SeqCst) {
            return;
        }
        let served = accepted.and_then(|(stream, _)| admit(inner, stream));
        match served {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
            }
            Err(error) => {
                // No descriptors or no threads are left: the rack is broken. What was refused is
                // retried only after a pause, since this would spin otherwise.
                let fault = Fault::new("serve a connection", &inner.path, &error);
                let shared = &inner.disk.shared;
                shared.fault(&mut shared.lock(), fault);
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Starts serving a connection, unless there are enough.
fn admit(inner: &Arc<Inner>, stream: UnixStream) -> io::Result<()> {
    let mut live = inner.live();
    live.retain(|(_, thread)| !thread.is_finished());
    // Whoever has seen its connection end has its place free, even if the thread is not gone yet.
    if live.iter().filter(|(out, _)| !out.has_ended()).count() >= MOST {
        return Ok(());
    }
    let out = Arc::new(Out::new(&stream)?);
    let (server, sender) = (inner.clone(), out.clone());
    let thread = spawn("hil-nbd-serve", move || {
        serve(&server, stream, &sender);
        server.pacer.forget(&sender);
        sender.end();
    })?;
    live.push((out, thread));
    Ok(())
}

/// Serves one connection to its end.
fn serve(inner: &Inner, stream: UnixStream, out: &Arc<Out>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    let timeout = |limit| writer.set_read_timeout(limit).is_ok();
    if !timeout(Some(HANDSHAKE)) {
        return;
    }
    let Ok(Some(agreed)) = handshake(&mut reader, &mut writer, &inner.export) else { return };
    if writer.set_read_timeout(None).is_err() {
        return;
    }
    let Ok(session) = inner.disk.session() else { return };
    let mut conn = Conn {
        reader: &mut reader,
        out: out.clone(),
        session,
        pacer: &inner.pacer,
        structured: agreed.structured,
        cache: inner.export.profile.has_cache(),
    };
    if let End::Frozen = conn.serve() {
        // The guest must see silence, not an error: its connection stays open until it is killed.
        let _ = io::copy(&mut reader, &mut io::sink());
    }
}
