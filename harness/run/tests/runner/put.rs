//! Files onto a board over SSH: a board fetches them by itself where it can.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hil_core::board::Board;
use hil_core::deadline::Deadline;
use hil_core::event::{Clock, Journal, What};
use hil_core::image::Image;
use hil_core::parts::{Output, Progress, Shell};
use hil_core::prelude::*;
use hil_core::rig::Parts;
use hil_run::adapters;
use tempfile::TempDir;

use crate::air::{Air, AirConsole, AirPower, Heard};

/// What fetches on a board.
#[derive(Debug, Clone, Copy)]
enum Fetcher {
    /// This host's program of that name.
    Real(&'static str),
    /// BusyBox' wget, which has fewer options than GNU's.
    BusyBox,
    /// A wget that writes half a file and calls that done.
    Halves,
    /// A command with wget in it does not end in time.
    Hangs,
    Nothing,
}

const HALVES: &str = "#!/bin/sh
while [ $# -gt 0 ]; do
    [ \"$1\" != -O ] || echo half >\"$2\"
    shift
done
";

/// A board's shell, reached by "SSH" from this host: this host's own, with few tools.
struct Host {
    tools: TempDir,
    hangs: bool,
    fetches: Arc<AtomicU32>,
    uploads: Arc<AtomicU32>,
}

impl Host {
    fn with(fetcher: Fetcher) -> Host {
        let tools = tempfile::tempdir().unwrap();
        let link_as = |tool, name| symlink(on_path(tool), tools.path().join(name)).unwrap();
        let link = |tool| link_as(tool, tool);
        ["sh", "wc", "rm"].into_iter().for_each(link);
        let hangs = matches!(fetcher, Fetcher::Hangs);
        match fetcher {
            Fetcher::Real(tool) => link(tool),
            Fetcher::BusyBox => link_as("busybox", "wget"),
            Fetcher::Halves => {
                let wget = tools.path().join("wget");
                std::fs::write(&wget, HALVES).unwrap();
                std::fs::set_permissions(wget, PermissionsExt::from_mode(0o755)).unwrap();
            }
            Fetcher::Hangs | Fetcher::Nothing => {}
        }
        Host { tools, hangs, fetches: Arc::default(), uploads: Arc::default() }
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
        let fetches = command.contains("wget");
        self.fetches.fetch_add(u32::from(fetches), Ordering::SeqCst);
        if fetches && self.hangs {
            return Err(Trouble::unmet("it did not end"));
        }
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
        check!(!Path::new(to).exists(), "something that still writes may have {to} open");
        std::fs::copy(local, to).map(|_| ()).map_err(Trouble::rack)
    }

    async fn download(&mut self, _: &str, _: &Path, _: Progress<'_>, _: Deadline) -> Outcome {
        Err(Trouble::rack("nobody asks"))
    }

    fn forget(&mut self) {}
}

/// What it took to bring two files onto a board.
#[derive(Debug, PartialEq)]
struct Took {
    fetches: u32,
    uploads: u32,
    notes: usize,
}

/// Brings two files of `size` bytes onto a board, whole.
async fn put_two(name: &str, fetcher: Fetcher, size: usize) -> Took {
    let air = Arc::new(Air::default());
    let host = Host::with(fetcher);
    let (fetches, uploads) = (host.fetches.clone(), host.uploads.clone());
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
        ssh: Some(Box::new(host)),
        slowness: 1.0,
        reach_by: Box::new(Vec::new),
    };
    let heard = Arc::new(Heard::default());
    let mut rig = Rig::new(parts, adapters, Journal::new("b", Clock::new(), vec![heard.clone()]));
    let work = tempfile::tempdir().unwrap();
    let local = work.path().join("a $file");
    let bytes: Vec<u8> = (0..size).map(|n| (n * 7 + n / 251) as u8).collect();
    std::fs::write(&local, &bytes).unwrap();
    for nth in ["it's one", "two"] {
        let remote = work.path().join(nth);
        let deadline = Deadline::within(secs(60));
        rig.put(&local, remote.to_str().unwrap(), "putting", deadline).await.unwrap();
        assert!(std::fs::read(&remote).unwrap() == bytes, "{nth}: something else came");
    }
    let (fetches, uploads) = (fetches.load(Ordering::SeqCst), uploads.load(Ordering::SeqCst));
    let is_note = |what: &&What| matches!(what, What::Note { .. });
    let notes = heard.0.lock().unwrap().iter().filter(is_note).count();
    Took { fetches, uploads, notes }
}

const EMULATED: &str = "qemu-b";
const MIB: usize = 1 << 20;

#[tokio::test]
async fn an_emulated_board_fetches_what_is_not_small() {
    for fetcher in [Fetcher::Real("wget"), Fetcher::Real("curl"), Fetcher::BusyBox] {
        let took = put_two(EMULATED, fetcher, MIB).await;
        assert_eq!(took, Took { fetches: 2, uploads: 0, notes: 0 }, "with {fetcher:?}");
    }
    let small = put_two(EMULATED, Fetcher::Real("wget"), 1000).await;
    assert_eq!(small, Took { fetches: 0, uploads: 2, notes: 0 });
}

#[tokio::test]
async fn what_cannot_be_fetched_is_carried_and_the_board_is_not_asked_again() {
    for fetcher in [Fetcher::Halves, Fetcher::Hangs, Fetcher::Nothing] {
        let took = put_two(EMULATED, fetcher, MIB).await;
        assert_eq!(took, Took { fetches: 1, uploads: 2, notes: 1 });
    }
}

#[tokio::test]
async fn a_physical_board_may_not_reach_this_host() {
    let took = put_two("b", Fetcher::Real("wget"), MIB).await;
    assert_eq!(took, Took { fetches: 0, uploads: 2, notes: 0 });
}
