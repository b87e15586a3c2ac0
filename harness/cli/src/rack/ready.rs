//! Saved boards on this host: each a folder with RAM, the machine's state, the disk and the UEFI
//! variables, named by all that it was made from. They outlive the run, so that the next one on the
//! same image need not boot.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hil_core::board::StorageSpec;
use hil_core::image::Image;
use hil_core::parts::Kept;
use hil_core::trouble::{Outcome, Trouble};
use hil_disk::Base;
use hil_qemu::{BootWith, LaunchSpec, Machine, RunDir, SaveKind};
use hil_run::prepare::artefact::digest_of;
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;

use super::disk::broken;

/// A saved board takes half a gigabyte or so; the least recently used go.
const MOST: usize = 6;

const DISK: &str = "disk";
/// Letters of a folder's name, of which the first tell the image.
const KEY: usize = 32;
const OF_IMAGE: usize = 12;
/// Of what [`Kept`] means, and of what runs on a saved board; builds of one changed commit share a
/// version.
const KEPT: &str = "program stands by";
/// What is known of the board. Written last: a folder without it was never finished. Locked by
/// whoever uses the folder.
const DONE: &str = "kept.json";

/// A board that was saved.
#[derive(Debug)]
pub(super) struct Saved {
    dir: PathBuf,
    pub(super) kind: SaveKind,
    pub(super) kept: Kept,
    /// What the machine had written by then.
    pub(super) disk: Option<Base>,
    /// Nobody removes the folder while this is held.
    _lock: Option<File>,
}

impl Saved {
    pub(super) fn ram(&self) -> Option<PathBuf> {
        (self.kind == SaveKind::Template).then(|| ram_in(&self.dir))
    }

    pub(super) fn state(&self) -> PathBuf {
        state_in(&self.dir)
    }

    pub(super) fn vars(&self) -> PathBuf {
        vars_in(&self.dir)
    }
}

pub(super) fn ram_in(dir: &Path) -> PathBuf {
    dir.join("ram")
}

pub(super) fn state_in(dir: &Path) -> PathBuf {
    dir.join("state")
}

pub(super) fn vars_in(dir: &Path) -> PathBuf {
    dir.join("vars.fd")
}

/// All that decides what a booted board is like; its digest is the folder's name.
pub(super) fn key(
    (image, digest, medium): (&Image, &str, &StorageSpec),
    machine: &Machine,
    spec: &LaunchSpec,
    emulator: Option<&str>,
) -> Option<String> {
    // What is secret must not outlive the run; an emulator of no known version may be any.
    let emulator = emulator.filter(|_| image.secrets.is_empty())?;
    let machine = serde_json::to_string(machine).ok()?;
    let parts = [
        env!("HIL_VERSION"),
        KEPT,
        digest,
        emulator,
        &machine,
        &format!("{medium:?}"),
        &format!("{} {:?} {:?} {:?}", spec.accel, spec.memory_mib, spec.forwards, spec.extra),
        &as_they_are(&spec.boot)?,
    ];
    let all = digest_of(parts.join("\n").as_bytes());
    Some(format!("{}{}", of_image(digest), &all[..KEY - OF_IMAGE]))
}

/// How the names of this hil's boards of an image begin.
fn of_image(digest: &str) -> String {
    let parts = [env!("HIL_VERSION"), KEPT, digest];
    digest_of(parts.join("\n").as_bytes())[..OF_IMAGE].to_string()
}

/// Whether a board of this image is saved in `root`, on whatever machine: only for estimates, since what
/// a run may start from [`key`] alone decides.
pub(super) fn likely_in(root: &Path, digest: &str) -> bool {
    let image = of_image(digest);
    let entries = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let mut saved = entries.filter(|entry| entry.path().join(DONE).exists());
    saved.any(|entry| entry.file_name().to_string_lossy().starts_with(&image))
}

/// Whether a folder is named as [`key`] names, and not by a run that is about to save one.
fn is_key(dir: &Path) -> bool {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == KEY && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a board is started with and by which files, not all of which are the manifest's: a board's
/// device tree, the kernel of a Yocto build. As `make` does, by their sizes and times.
fn as_they_are(boot: &BootWith) -> Option<String> {
    let files = boot.files().into_iter().map(|file| {
        let about = fs::metadata(file).ok()?;
        Some(format!("{} {} {:?}", file.display(), about.len(), about.modified().ok()?))
    });
    Some(format!("{boot:?} {}", files.collect::<Option<Vec<String>>>()?.join(" ")))
}

/// The folder of saved boards, and the run's own corner of it.
pub(super) struct Store {
    root: PathBuf,
    /// What is being saved, and what no other run may use; gone with the run.
    staging: RunDir,
    /// What earlier runs left is not used.
    fresh: bool,
    /// What this run itself has saved, by board and image; locked by whoever is about to.
    lanes: Mutex<BTreeMap<String, Lanes>>,
}

/// The one saved board of all lanes that fork from it.
pub(super) type Lanes = Arc<tokio::sync::Mutex<Option<Arc<Saved>>>>;

impl Store {
    pub(super) fn open(root: PathBuf, run_id: &str, fresh: bool) -> Outcome<Store> {
        fs::create_dir_all(&root)
            .map_err(|why| Trouble::rack(format!("failed to create {}: {why}", root.display())))?;
        RunDir::sweep(&root);
        let staging = RunDir::create_in(&root, run_id)?;
        Ok(Store { root, staging, fresh, lanes: Mutex::default() })
    }

    /// Where the lanes of `name` find each other.
    pub(super) fn lanes(&self, name: String) -> Lanes {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(name).or_default().clone()
    }

    /// The folder that the keeper removes if this process cannot.
    pub(super) fn staging(&self) -> &Path {
        self.staging.path()
    }

    /// A new folder to save a board in.
    pub(super) fn begin(&self, name: &str) -> Outcome<PathBuf> {
        let free = (1..).map(|n| self.staging.file(&format!("{name}-{n}"))).find(|p| !p.exists());
        let dir = free.ok_or_else(|| Trouble::rack("no free name for a saved board"))?;
        // What is in a board's memory is nobody else's affair.
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(|why| Trouble::rack(format!("failed to create {}: {why}", dir.display())))?;
        Ok(dir)
    }

    /// Refuses a board of `memory_mib` for which there is no room: an emulator whose memory is a file
    /// on a full disk dies of it.
    pub(super) fn must_have_room(&self, memory_mib: u32) -> Outcome {
        let failed = |why: Errno| format!("failed to look at {}: {why}", self.root.display());
        let disk = statvfs(&self.root).map_err(|why| Trouble::rack(failed(why)))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
        // The disk that is saved with it, and something for everybody else.
        let needed = u64::from(memory_mib) * 2;
        if free >= needed {
            return Ok(());
        }
        Err(Trouble::rack(format!(
            "a saved board may take {needed} MiB in {}, where {free} MiB are free",
            self.root.display()
        )))
    }

    /// What an earlier run saved under `key`, its disk over `image`. One that is damaged is as none.
    pub(super) fn find(&self, key: &str, kind: SaveKind, image: Option<&Path>) -> Option<Saved> {
        if self.fresh {
            return None;
        }
        let dir = self.root.join(key);
        let done = File::options().read(true).append(true).open(dir.join(DONE)).ok()?;
        flock(&done, FlockOperation::NonBlockingLockShared).ok()?;
        // The lock may have come after somebody removed it all.
        let kept = serde_json::from_reader(&done).ok().filter(|_| dir.join(DONE).exists())?;
        let disk = match image {
            Some(image) => Some(Base::load(&dir.join(DISK), &Base::open(image).ok()?).ok()?),
            None => None,
        };
        // Its age is that of its last use.
        let _ = done.set_modified(SystemTime::now());
        Some(Saved { dir, kind, kept, disk, _lock: Some(done) })
    }

    /// Makes a board of what was saved in `dir`; under `key` for later runs too, where there is one.
    pub(super) fn finish(
        &self,
        dir: PathBuf,
        key: Option<&str>,
        kind: SaveKind,
        (kept, disk): (Kept, Option<Base>),
    ) -> Outcome<Saved> {
        let Some(key) = key else { return Ok(Saved { dir, kind, kept, disk, _lock: None }) };
        if let Some(disk) = &disk {
            disk.save(&dir.join(DISK)).map_err(broken)?;
        }
        let failed = |why: std::io::Error| {
            Trouble::rack(format!("failed to keep a saved board in {}: {why}", dir.display()))
        };
        let done = File::create(dir.join(DONE)).map_err(failed)?;
        serde_json::to_writer(&done, &kept).map_err(|why| failed(why.into()))?;
        flock(&done, FlockOperation::NonBlockingLockShared).map_err(|e| failed(e.into()))?;
        let place = self.root.join(key);
        self.remove(&place);
        // Where another run was faster, or uses what is there, this one's stays its own.
        let dir = match fs::rename(&dir, &place) {
            Ok(()) => place,
            Err(_) => dir,
        };
        self.prune();
        Ok(Saved { dir, kind, kept, disk, _lock: Some(done) })
    }

    /// Removes a saved board that is of no use.
    pub(super) fn discard(&self, saved: Saved) {
        let dir = saved.dir.clone();
        drop(saved);
        self.remove(&dir);
    }

    /// Removes a saved board, unless somebody uses it.
    fn remove(&self, dir: &Path) {
        // Held until it is gone, so that nobody begins to use what is being removed.
        let done = File::open(dir.join(DONE));
        let unused = match &done {
            Ok(done) => flock(done, FlockOperation::NonBlockingLockExclusive).is_ok(),
            // Of another hil, or half removed.
            Err(why) => why.kind() == ErrorKind::NotFound,
        };
        if unused {
            let _ = fs::remove_dir_all(dir);
        }
    }

    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        let used = |dir: &PathBuf| fs::metadata(dir.join(DONE)).ok()?.modified().ok();
        let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
        for dir in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            match used(&dir) {
                Some(at) => all.push((at, dir)),
                // What a board is moved to has all of it: this one was left while it was removed.
                None if is_key(&dir) => self.remove(&dir),
                None => {}
            }
        }
        all.sort();
        all.truncate(all.len().saturating_sub(MOST));
        all.iter().for_each(|(_, dir)| self.remove(dir));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(root: &Path, run: &str, fresh: bool) -> Store {
        Store::open(root.to_path_buf(), run, fresh).unwrap()
    }

    const LOGIN: &str = "1 0 base64 /run";

    fn saved(store: &Store, key: Option<&str>) -> Saved {
        let dir = store.begin("b").unwrap();
        fs::write(state_in(&dir), "x").unwrap();
        let kept = Kept { login: Some(LOGIN.into()), ..Kept::default() };
        store.finish(dir, key, SaveKind::Template, (kept, None)).unwrap()
    }

    #[test]
    fn what_one_run_saved_the_next_one_finds_unless_it_wants_a_fresh_boot() {
        let root = tempfile::tempdir().unwrap();
        let one = store(root.path(), "r1", false);
        drop(saved(&one, Some("k")));
        let private = saved(&one, None);
        assert!(private.state().starts_with(one.staging()), "not for others");
        drop(one);
        assert!(!private.state().exists(), "gone with its run");
        let two = store(root.path(), "r2", false);
        let found = two.find("k", SaveKind::Template, None).unwrap();
        assert_eq!(fs::read(found.state()).unwrap(), b"x");
        assert_eq!(found.kept.login.as_deref(), Some(LOGIN));
        assert!(two.find("other", SaveKind::Template, None).is_none());
        assert!(store(root.path(), "r3", true).find("k", SaveKind::Template, None).is_none());
    }

    #[test]
    fn a_board_in_use_is_neither_replaced_nor_pruned() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), "r1", false);
        let first = saved(&store, Some("k0"));
        let second = saved(&store, Some("k0"));
        assert!(first.state().exists() && second.state().exists());
        assert_ne!(first.state(), second.state());
        fs::create_dir(root.path().join("k1")).unwrap();
        for n in 1..=MOST + 1 {
            drop(saved(&store, Some(&format!("k{n}"))));
        }
        let there = |n: usize| root.path().join(format!("k{n}")).exists();
        assert!(there(0), "in use, however old");
        assert!(!there(1), "the oldest that nobody uses");
        assert!((2..=MOST + 1).all(there));
    }

    #[test]
    fn what_a_killed_run_had_half_removed_goes_with_the_next_one_saved() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), "r1", false);
        let half = root.path().join("0123456789abcdef".repeat(2));
        fs::create_dir(&half).unwrap();
        fs::write(ram_in(&half), "x").unwrap();
        drop(saved(&store, Some("k")));
        assert!(!half.exists());
        assert!(store.find("k", SaveKind::Template, None).is_some());
        assert!(store.staging().exists(), "another run's, and this one's, are at work");
    }

    /// The name of a board of the image whose digest this is, with so much memory.
    fn name(digest: &str, memory_mib: u32) -> String {
        let image = "name = \"os\"\narch = \"aarch64\"\n[boot.kernel]\nfile = \"k\"\n";
        let image = Image::parse(image, Path::new("image.toml")).unwrap();
        let machine = include_str!("../../../../qemu-configs/virt-aarch64.toml");
        let machine = Machine::parse(machine, Path::new("virt-aarch64.toml")).unwrap();
        let spec = LaunchSpec { memory_mib: Some(memory_mib), ..LaunchSpec::default() };
        key((&image, digest, &StorageSpec::default()), &machine, &spec, Some("10.0.2")).unwrap()
    }

    #[test]
    fn each_machine_has_saved_boards_of_its_own_which_all_tell_their_image() {
        let [one, other] = [name("one", 256), name("one", 512)];
        assert!(one != other && one == name("one", 256));
        assert!([&one, &other].iter().all(|name| name.starts_with(&of_image("one"))));
        assert!(!name("two", 256).starts_with(&of_image("one")));
    }

    #[test]
    fn a_saved_board_tells_its_image_when_it_is_finished() {
        let root = tempfile::tempdir().unwrap();
        let name = name("one", 256);
        fs::create_dir(root.path().join(&name)).unwrap();
        assert!(!likely_in(root.path(), "one"), "half removed");
        let board = saved(&store(root.path(), "r1", false), Some(&name));
        assert!(likely_in(root.path(), "one") && !likely_in(root.path(), "two"));
        assert!(is_key(&board.dir));
        assert!(!likely_in(&root.path().join("none"), "one"));
    }

    #[test]
    fn what_proved_useless_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), "r1", false);
        let saved = saved(&store, Some("k"));
        store.discard(saved);
        assert!(store.find("k", SaveKind::Template, None).is_none());
        assert!(!root.path().join("k").exists());
    }

    #[test]
    fn a_board_that_does_not_fit_is_refused_before_it_boots() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path(), "r1", false);
        assert_eq!(store.must_have_room(1), Ok(()));
        let why = store.must_have_room(u32::MAX).unwrap_err().to_string();
        assert!(why.contains("a saved board may take 8589934590 MiB in"), "{why}");
        let dir = store.begin("b").unwrap();
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(dir).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700, "a board's memory is nobody else's affair");
    }
}
