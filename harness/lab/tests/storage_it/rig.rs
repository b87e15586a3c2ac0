//! What the tests of storage stand on: images, dirty cards, recording tools, and a way to follow.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use hil_core::deadline::{Deadline, secs};
use hil_lab::DriverError;
use hil_lab::storage::{Device, Files, Options, Provisioned, StorageSpec, provision};

pub(crate) const MIB: u64 = 1 << 20;

/// A folder of a test with what happened in it.
pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cancel: AtomicBool,
    pub(crate) deadline: Deadline,
    pub(crate) log: Mutex<Vec<String>>,
    pub(crate) progress: Mutex<Vec<(u64, u64)>>,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let (log, progress) = (Mutex::default(), Mutex::default());
        let deadline = Deadline::within(secs(120));
        Rig { dir, env: Vec::new(), cancel: AtomicBool::new(false), deadline, log, progress }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// A program of sh; `$dir` is the rig's folder.
    pub(crate) fn tool(&self, name: &str, script: &str) -> String {
        let path = self.path(name);
        let text = format!("#!/bin/sh\ndir='{}'\n{script}\n", self.dir.path().display());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.text(name)
    }

    /// A sparse image: the given bytes at the given places.
    pub(crate) fn image(&self, size: u64, data: &[(u64, &[u8])]) -> PathBuf {
        let path = self.path("disk.img");
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        for (at, bytes) in data {
            file.write_all_at(bytes, *at).unwrap();
        }
        path
    }

    /// A card full of what an earlier run left.
    pub(crate) fn card(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, vec![0xee; size as usize]).unwrap();
        path
    }

    pub(crate) fn run(&self, spec: &StorageSpec) -> Result<Provisioned, DriverError> {
        self.run_with(spec, None, &|_, _| (), &mut |_| Ok(()))
    }

    pub(crate) fn run_with(
        &self,
        spec: &StorageSpec,
        flash: Option<&hil_core::board::Flash>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
        inject: &mut dyn FnMut(&Device) -> Result<(), DriverError>,
    ) -> Result<Provisioned, DriverError> {
        let told = |done, of| {
            self.progress.lock().unwrap().push((done, of));
            progress(done, of);
        };
        let log = |line: &str| self.log.lock().unwrap().push(line.to_string());
        let (cancel, env, deadline) = (&self.cancel, &*self.env, self.deadline);
        let options = Options { progress: &told, log: &log, cancel, env, deadline };
        let (image, dir) = (self.path("disk.img"), self.dir.path());
        let files = Files { image: &image, bmap: None, bootloader: None, dir };
        provision(Some(spec), flash, &files, &options, inject)
    }

    pub(crate) fn refused(&self, spec: &StorageSpec) -> String {
        self.run(spec).unwrap_err().to_string()
    }
}

pub(crate) fn on(device: impl Into<PathBuf>) -> StorageSpec {
    StorageSpec { device: Some(device.into()), ..StorageSpec::default() }
}

/// Bytes that are not alike anywhere.
pub(crate) fn noise(length: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length as usize).collect()
}

/// Whether a program is there; if not, the test is skipped, or fails where nothing may be missing.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    there || skip(&format!("{program} is not installed: run ci/setup"))
}

/// Says that a test is skipped; false, for its caller's `if`.
pub(crate) fn skip(why: &str) -> bool {
    let required = ["HIL_TEST_REQUIRE", "CI"].iter().any(|key| std::env::var_os(key).is_some());
    assert!(!required, "not skipped here: {why}");
    eprintln!("SKIPPED: {why}");
    false
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}
