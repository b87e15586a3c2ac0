//! A person's way to the console of a kept board: a unix socket beside the capture, which goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hil_core::deadline::Deadline;
use hil_core::parts::Console;
use hil_core::trouble::{Outcome, Trouble};
use regex::bytes::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// How much of the past a newcomer is shown.
const PAST: u64 = 2048;
const CHUNK: usize = 16 * 1024;

/// Serves whoever connects, until the run ends.
pub(super) fn listen(socket: &Path, console: Arc<dyn Console>) -> Outcome {
    let listener = UnixListener::bind(socket)
        .map_err(|error| Trouble::rack(format!("failed to open {}: {error}", socket.display())))?;
    let anything = Regex::new("(?s).").map_err(Trouble::rack)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, console.clone(), anything.clone()));
        }
    });
    Ok(())
}

async fn serve(mut stream: UnixStream, console: Arc<dyn Console>, anything: Regex) {
    let (mut reader, mut writer) = stream.split();
    let typed = async {
        let mut keys = [0; 256];
        while let Ok(n) = reader.read(&mut keys).await {
            if n == 0 || console.send(&keys[..n]).await.is_err() {
                return;
            }
        }
    };
    let shown = async {
        let mut at = console.position().saturating_sub(PAST);
        loop {
            let patience = Deadline::within(Duration::from_secs(3600));
            // Whether something came or an hour passed, what there is is shown.
            let _ = console.expect(at, &anything, patience).await;
            let Ok(bytes) = console.read(at, CHUNK) else { return };
            at += bytes.len() as u64;
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = typed => {}
        () = shown => {}
    }
}
