//! Tests of the probe: the tiny guests run for real, the broken accelerators are made up.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// Emulation by a loaded host; only a test that fails waits so long.
const LONG: Duration = secs(60);

fn cpu(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 | Arch::Aarch64 => "max",
        Arch::Arm => "cortex-a15",
    }
}

#[tokio::test]
async fn the_guests_print_their_word_on_every_architecture() {
    for arch in Arch::ALL {
        let emulator = Emulator::find(arch).unwrap();
        let tried = try_guest(&emulator, arch, "tcg", cpu(arch), LONG).await;
        assert!(tried.is_ok(), "{arch}: {}", tried.unwrap_err().why);
    }
}

#[tokio::test]
async fn an_error_of_qemu_is_quoted() {
    let emulator = Emulator::find(Arch::X86_64).unwrap();
    let failure = try_guest(&emulator, Arch::X86_64, "tcg", "no-such-cpu", LONG).await.unwrap_err();
    assert!(failure.why.contains("no-such-cpu") && !failure.slow, "{}", failure.why);
}

/// A prober over a device that opens, on a host whose emulator is the given script.
struct Lab {
    folder: tempfile::TempDir,
    emulator: Emulator,
}

impl Lab {
    fn new(script: &str) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kvm"), "").unwrap();
        let path = folder.path().join("qemu-system-x86_64");
        let count = folder.path().join("count");
        let script = format!("#!/bin/sh\necho >> '{}'\n{script}\n", count.display());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Lab { folder, emulator: Emulator { arch: Arch::X86_64, path } }
    }

    fn prober(&self, patience: Duration) -> Prober {
        Prober {
            cache: Some(self.folder.path().join("cache")),
            device: self.folder.path().join("kvm"),
            host: Some(Arch::X86_64),
            patience,
        }
    }

    async fn ask(&self, patience: Duration) -> Option<String> {
        self.prober(patience).ask(&self.emulator, Arch::X86_64, "host").await
    }

    fn starts(&self) -> usize {
        fs::read(self.folder.path().join("count")).unwrap_or_default().len()
    }
}

#[tokio::test]
async fn a_failure_is_asked_for_once() {
    let lab = Lab::new("echo 'qemu: warning: x' >&2; echo 'qemu: failed to set MSR' >&2; exit 134");
    assert_eq!(lab.ask(LONG).await.as_deref(), Some("qemu: failed to set MSR"));
    assert_eq!(lab.ask(LONG).await.as_deref(), Some("qemu: failed to set MSR"));
    assert_eq!(lab.starts(), 1, "the second answer comes from the cache");
}

#[tokio::test]
async fn a_guest_that_works_is_asked_for_once() {
    let lab = Lab::new("printf hil; exit 33");
    assert_eq!(lab.ask(LONG).await, None);
    assert_eq!(lab.ask(LONG).await, None);
    assert_eq!(lab.starts(), 1);
}

#[tokio::test]
async fn the_word_alone_or_the_status_alone_is_not_enough() {
    assert!(Lab::new("printf hil; exit 1").ask(LONG).await.is_some());
    assert!(Lab::new("exit 33").ask(LONG).await.is_some());
}

#[tokio::test]
async fn a_hanging_guest_is_killed_and_gets_another_chance_later() {
    let lab = Lab::new("exec sleep 1000");
    let why = lab.ask(Duration::from_millis(300)).await.unwrap();
    assert!(why.contains("hung for 0.30 s"), "{why}");
    let cache = lab.folder.path().join("cache");
    let file = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let mut known: Remembered = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let prober = lab.prober(LONG);
    assert!(prober.recall(&known.key).is_some(), "fresh for now");
    known.until = Some(since_1970().as_secs() - 1);
    prober.remember(&known);
    assert!(prober.recall(&known.key).is_none(), "stale after its time");
}

#[tokio::test]
async fn a_foreign_guest_is_not_tried() {
    let lab = Lab::new("exit 1");
    let accel = lab.prober(LONG).probe_arch(Arch::Aarch64).await.unwrap();
    assert_eq!(accel.kind, AccelKind::Tcg);
    let why = accel.reason.unwrap();
    assert!(why.starts_with("an x86_64 host cannot run aarch64 guests under KVM"), "{why}");
}

#[tokio::test]
async fn an_absent_device_is_told() {
    let lab = Lab::new("exit 1");
    let prober = Prober { device: "/nonexistent/kvm".into(), ..lab.prober(LONG) };
    let why = prober.probe_arch(Arch::X86_64).await.unwrap().reason.unwrap();
    assert!(why.starts_with("there is no /nonexistent/kvm"), "{why}");
}

#[test]
fn groups_are_named() {
    assert_eq!(group_name(0), "root");
    assert_eq!(group_name(4_294_000_000), "4294000000");
}

/// What this host really answers is one of the two, with a reason where it is TCG.
#[tokio::test]
async fn the_real_host_gets_an_answer() {
    let prober = Prober { cache: None, ..Prober::default() };
    let accel = prober.probe_arch(Arch::X86_64).await.unwrap();
    assert_eq!(accel.kind == AccelKind::Kvm, accel.reason.is_none(), "{accel:?}");
}
