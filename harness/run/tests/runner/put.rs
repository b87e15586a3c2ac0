//! Files onto a board over SSH: a board fetches them by itself where it can.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hil_core::board::Board;
use hil_core::deadline::Deadline;
use hil_core::event::{Clock, Journal};
use hil_core::image::Image;
use hil_core::parts::{Output, Progress, Shell};
use hil_core::prelude::*;
use hil_core::rig::Parts;
use hil_run::adapters;
use tempfile::TempDir;

use crate::air::{Air, AirConsole, AirPower};

/// A board's shell, reached by "SSH" from this host: this host's own, with these tools alone.
struct Host {
    tools: TempDir,
    uploads: Arc<AtomicU32>,
}

impl Host {
    fn with(tools: &[&str], uploads: &Arc<AtomicU32>) -> Host {
        let dir = tempfile::tempdir().unwrap();
        for tool in tools {
            symlink(on_path(tool), dir.path().join(tool)).unwrap();
        }
        Host { tools: dir, uploads: uploads.clone() }
    }
}

fn on_path(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(tool));
    let file = files.find(|file| file.exists());
    file.unwrap_or_else(|| panic!("{tool} is not installed: ci/setup does it"))
}

#[async_trait]
impl Shell for Host {
    fn name(&self) -> &'static str {
        "ssh"
    }

    async fn open(&mut self, _: Deadline) -> Outcome {
        Ok(())
    }

    async fn exec(&mut self, command: &str, _: Deadline) -> Outcome<Output> {
        let mut sh = Command::new(self.tools.path().join("sh"));
        sh.args(["-c", command]).env("PATH", self.tools.path());
        sh.env("SSH_CONNECTION", "127.0.0.1 5000 127.0.0.1 22");
        let output = tokio::task::spawn_blocking(move || sh.output()).await.unwrap().unwrap();
        let status = output.status.code().unwrap_or(128);
        let (stdout, stderr) = (output.stdout, output.stderr);
        Ok(Output { status, stdout, stderr, ..Output::default() })
    }

    async fn upload(&mut self, local: &Path, to: &str, _: Progress<'_>, _: Deadline) -> Outcome {
        self.uploads.fetch_add(1, Ordering::SeqCst);
        std::fs::copy(local, to).map(|_| ()).map_err(Trouble::rack)
    }

    async fn download(&mut self, _: &str, _: &Path, _: Progress<'_>, _: Deadline) -> Outcome {
        Err(Trouble::rack("nobody asks"))
    }

    fn forget(&mut self) {}
}

/// Brings a file of `size` bytes onto a board with these tools; how often the shell had to carry it.
async fn put(name: &str, tools: &[&str], size: usize) -> u32 {
    let air = Arc::new(Air::default());
    let uploads = Arc::new(AtomicU32::new(0));
    let emulated = if name == EMULATED { "[qemu]\nmachine = \"m\"\n" } else { "" };
    let board = format!("title = \"X\"\narch = \"arm\"\nsources = [\"none\"]\n{emulated}");
    let image = "name = \"os\"\narch = \"arm\"\n[boot.kernel]\nfile = \"k\"\n";
    let image = Image::parse(image, Path::new("image.toml")).unwrap();
    let adapters = adapters::for_image(&image);
    let parts = Parts {
        board: Arc::new(Board::parse(&board, Path::new(&format!("{name}.toml"))).unwrap()),
        image: Arc::new(image),
        power: Box::new(AirPower(air.clone())),
        console: Arc::new(AirConsole(air)),
        login: None,
        ssh: Some(Box::new(Host::with(tools, &uploads))),
        slowness: 1.0,
        reach_by: Box::new(Vec::new),
    };
    let mut rig = Rig::new(parts, adapters, Journal::new("b", Clock::new(), Vec::new()));
    let work = tempfile::tempdir().unwrap();
    let (local, remote) = (work.path().join("a $file"), work.path().join("it's there"));
    let bytes: Vec<u8> = (0..size).map(|n| (n * 7 + n / 251) as u8).collect();
    std::fs::write(&local, &bytes).unwrap();
    let remote_path = remote.to_str().unwrap();
    rig.put(&local, remote_path, "putting", Deadline::within(secs(60))).await.unwrap();
    assert!(std::fs::read(&remote).unwrap() == bytes, "something else came by {tools:?}");
    uploads.load(Ordering::SeqCst)
}

const EMULATED: &str = "qemu-b";
const ALL: &[&str] = &["sh", "wget", "wc"];
const MIB: usize = 1 << 20;

#[tokio::test]
async fn an_emulated_board_fetches_what_is_not_small() {
    assert_eq!(put(EMULATED, ALL, MIB).await, 0);
    assert_eq!(put(EMULATED, ALL, 1000).await, 1, "a small file");
}

#[tokio::test]
async fn what_cannot_be_fetched_is_carried() {
    assert_eq!(put(EMULATED, &["sh", "wc"], MIB).await, 1, "without wget and curl");
    assert_eq!(put("b", ALL, MIB).await, 1, "a physical board may not reach this host");
}
