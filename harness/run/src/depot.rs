//! A web server for one file, which can break off like a network. It knows GET and HEAD, and ranges
//! that begin somewhere and go to the end, which is what downloads are resumed with.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hil_core::parts::{Depot, Served};
use hil_core::trouble::{Outcome, Trouble};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct HttpDepot;

/// A request's head is no longer.
const HEAD_MOST: usize = 8 * 1024;

/// What is read and sent in one piece.
const PIECE: usize = 64 * 1024;

#[async_trait]
impl Depot for HttpDepot {
    async fn serve(
        &self,
        file: &Path,
        breaks_after: Option<u64>,
        beyond: bool,
    ) -> Outcome<Box<dyn Served>> {
        let failed = |error| Trouble::rack(format!("serve {}: {error}", file.display()));
        let size = tokio::fs::metadata(file).await.map_err(failed)?.len();
        let address = if beyond { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let listener = TcpListener::bind((address, 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let shelf = Arc::new(Shelf {
            file: file.to_path_buf(),
            size,
            breaks_after: Mutex::new(breaks_after),
            answers: Mutex::default(),
            sent: watch::channel(0).0,
        });
        let task = tokio::spawn(accept(listener, shelf.clone()));
        Ok(Box::new(Serving { port, shelf, task }))
    }
}

/// The file, and what has been sent of it.
struct Shelf {
    file: PathBuf,
    size: u64,
    /// Taken by the first answer.
    breaks_after: Mutex<Option<u64>>,
    answers: Mutex<Vec<(u64, u64)>>,
    sent: watch::Sender<u64>,
}

struct Serving {
    port: u16,
    shelf: Arc<Shelf>,
    task: JoinHandle<()>,
}

impl Served for Serving {
    fn url(&self, host: &str) -> String {
        // Whatever is asked for is the file: its name is for those who read logs.
        let name = self.shelf.file.file_name().unwrap_or_default().to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = name.replace(|c: char| !plain(c), "_");
        format!("http://{host}:{}/{name}", self.port)
    }

    fn answers(&self) -> Vec<(u64, u64)> {
        self.shelf.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn size(&self) -> u64 {
        self.shelf.size
    }

    fn sent(&self) -> watch::Receiver<u64> {
        self.shelf.sent.subscribe()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shelf: Arc<Shelf>) {
    // One at a time: whoever downloads has one connection, and an old one has ended.
    while let Ok((stream, _)) = listener.accept().await {
        // A peer that goes away in mid-answer is its own affair; what it got is on record.
        let _ = answer(stream, &shelf).await;
    }
}

async fn answer(mut stream: TcpStream, shelf: &Shelf) -> std::io::Result<()> {
    let head = read_head(&mut stream).await?;
    let mut file = tokio::fs::File::open(&shelf.file).await?;
    let size = shelf.size;
    let from = range_start(&head);
    if from.is_some_and(|from| from >= size) {
        let head =
            format!("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\n");
        return stream.write_all(format!("{head}{END}").as_bytes()).await;
    }
    let begin = from.unwrap_or(0);
    let status = match from {
        Some(from) => {
            format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}", size - 1)
        }
        None => "200 OK\r\nAccept-Ranges: bytes".into(),
    };
    let length = size - begin;
    let head_out = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{END}");
    stream.write_all(head_out.as_bytes()).await?;
    if head.starts_with("HEAD ") {
        return Ok(());
    }
    let breaks = shelf.breaks_after.lock().unwrap_or_else(PoisonError::into_inner).take();
    file.seek(std::io::SeekFrom::Start(begin)).await?;
    let most = breaks.map_or(length, |after| after.saturating_sub(begin).min(length));
    let told = |sent| {
        shelf.sent.send_replace(begin + sent);
    };
    let sent = send(&mut file.take(most), &mut stream, told).await?;
    shelf.answers.lock().unwrap_or_else(PoisonError::into_inner).push((begin, sent));
    stream.shutdown().await
}

/// Copies to the end, telling after each piece how many bytes it were; returns that, too.
async fn send(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut TcpStream,
    told: impl Fn(u64),
) -> std::io::Result<u64> {
    let (mut piece, mut sent) = (vec![0; PIECE], 0);
    loop {
        match from.read(&mut piece).await? {
            0 => return Ok(sent),
            n => {
                to.write_all(&piece[..n]).await?;
                sent += n as u64;
                told(sent);
            }
        }
    }
}

const END: &str = "Content-Type: application/octet-stream\r\nConnection: close\r\n\r\n";

async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let n = stream.read(&mut chunk).await?;
        if n == 0 || head.len() > HEAD_MOST {
            return Err(std::io::Error::other("no request"));
        }
        head.extend_from_slice(&chunk[..n]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// `Range: bytes=17-`, in any case of letters.
fn range_start(head: &str) -> Option<u64> {
    let line = head.lines().map(str::to_ascii_lowercase).find(|line| line.starts_with("range:"))?;
    line.split_once("bytes=")?.1.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(url: &str, extra: &str) -> String {
        let port: u16 = url.rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET /f HTTP/1.1\r\nHost: h\r\n{extra}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        all
    }

    #[tokio::test]
    async fn an_answer_breaks_off_once_and_the_rest_can_be_asked_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789").unwrap();
        let served = HttpDepot.serve(file.path(), Some(4), false).await.unwrap();
        let url = served.url("127.0.0.1");
        let broken = ask(&url, "").await;
        assert!(broken.contains("Content-Length: 10\r\n"), "{broken}");
        assert!(broken.ends_with("\r\n\r\n0123"), "{broken}");
        let rest = ask(&url, "RANGE: bytes=4-\r\n").await;
        assert!(rest.contains(" 206 ") && rest.ends_with("\r\n\r\n456789"), "{rest}");
        assert_eq!((served.size(), *served.sent().borrow()), (10, 10));
        assert!(ask(&url, "").await.ends_with("\r\n\r\n0123456789"));
        assert!(ask(&url, "Range: bytes=10-\r\n").await.contains(" 416 "));
        assert_eq!(served.answers(), [(0, 4), (4, 6), (0, 10)]);
    }
}
