//! A real guest writes one block with a flush and one without, and loses its power: what each
//! policy leaves on the disk. And cuts as a plan has them: the same again for the same seed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use hil_console::{Capture, CaptureOptions};
use hil_core::deadline::{Deadline, secs};
use hil_core::event::Clock;
use hil_core::mask::Masker;
use hil_core::parts::Console;
use hil_core::stage::StageMarks;
use hil_disk::{Base, CutReport, Disk, DiskOptions, Layer, Policy, Server, ServerOptions};
use hil_qemu::catalogue::Catalogue;
use hil_qemu::{AccelKind, Begin, BootWith, Emulator, LaunchSpec, Qemu, RunDir};
use regex::bytes::Regex;

const FLUSHED: u64 = 1 << 20;
const UNFLUSHED: u64 = 2 << 20;

/// What one block holds after the cut.
fn block(disk: &Disk, offset: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    disk.read_at(offset, &mut bytes).unwrap();
    bytes
}

/// Boots the example, waits until both blocks were acknowledged, cuts the power.
async fn after_cut(dir: &Path, policy: Policy, seed: u64) -> (Disk, CutReport) {
    let image = dir.join("disk.img");
    File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let base = Base::open(&image).unwrap();
    let layer = Layer::create(dir, &base, base.size()).unwrap();
    let disk = Disk::new(layer, DiskOptions::default()).unwrap();
    let run = RunDir::create(&format!("cut-{}-{}-{seed}", std::process::id(), policy.name()));
    let run = run.unwrap();
    let socket = run.socket("disk").unwrap();
    let server = Server::start(&socket, disk.clone(), ServerOptions::default()).unwrap();

    let example = common::example("aarch64");
    let catalogue = Catalogue::shipped().unwrap();
    let machine = catalogue.machine("virt-aarch64").unwrap();
    let spec = LaunchSpec {
        name: "hil-cut".into(),
        accel: AccelKind::Tcg,
        memory_mib: None,
        boot: BootWith::Kernel {
            kernel: example.join("vmlinuz"),
            initrd: Some(example.join("initrd.cpio.gz")),
            dtb: None,
            cmdline: "console=ttyAMA0 hil.do=write".into(),
        },
        disks: vec![socket],
        console: run.socket("console").unwrap(),
        qmp: run.socket("qmp").unwrap(),
        forwards: Vec::new(),
        extra: Vec::new(),
        begin: Begin::PowerOn,
        paused: false,
        patience: secs(60),
    };
    let clock = Clock::new();
    let (marks, options) = (StageMarks::default(), CaptureOptions::default());
    let capture = Capture::open(dir, clock, &marks, Masker::default(), options).unwrap();
    let emulator = Emulator::find(machine.emulator(AccelKind::Tcg)).unwrap();
    let started = Qemu::start(&emulator, machine, &spec, &run).await.unwrap();
    capture.attach(started.console).await;
    let written = Regex::new("(?m)^written").unwrap();
    capture.expect(0, &written, Deadline::within(secs(120))).await.unwrap();

    disk.freeze();
    started.qemu.kill().await.unwrap();
    capture.detach(Duration::from_millis(100)).await;
    drop(server);
    let report = disk.power_cut(policy, seed).unwrap();
    (disk, report)
}

fn cut(policy: Policy, seed: u64) -> (Vec<u8>, Vec<u8>, CutReport) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (disk, report) = runtime.block_on(after_cut(dir.path(), policy, seed));
    let image = fs::read(dir.path().join("disk.img")).unwrap();
    assert!(image.iter().all(|byte| *byte == 0), "the image itself was written to");
    (block(&disk, FLUSHED), block(&disk, UNFLUSHED), report)
}

#[test]
fn drop_all_keeps_what_was_flushed_and_nothing_else() {
    let (flushed, unflushed, report) = cut(Policy::DropAll, 1);
    assert!(flushed == vec![b'A'; 4096], "the flushed block was lost");
    assert!(unflushed == vec![0; 4096], "the unflushed block survived");
    assert!(report.pending >= 1 && report.dropped == report.pending, "{report}");
}

#[test]
fn keep_all_shows_what_a_plain_kill_shows() {
    let (flushed, unflushed, report) = cut(Policy::KeepAll, 1);
    assert!(flushed == vec![b'A'; 4096], "the flushed block was lost");
    assert!(unflushed == vec![b'B'; 4096], "the unflushed block was lost");
    assert_eq!(report.dropped + report.torn, 0, "{report}");
}

#[test]
fn subset_repeats_for_its_seed() {
    for seed in [3, 4] {
        let (flushed, once, _) = cut(Policy::Subset, seed);
        let (_, again, _) = cut(Policy::Subset, seed);
        assert!(flushed == vec![b'A'; 4096], "the flushed block was lost");
        assert!(once == again, "seed {seed} gave two different disks");
        // Whatever was drawn is a prefix of the new block over the old one, in whole sectors.
        let new = once.iter().take_while(|byte| **byte == b'B').count();
        assert!(new % 512 == 0 && once[new..].iter().all(|byte| *byte == 0), "torn at {new}");
    }
}

/// What is planned of the power-cut suite on demo-os: each run of a case, with its seed and cuts.
fn planned(words: &[&str]) -> Vec<serde_json::Value> {
    let mut plan = common::hil();
    plan.args(["plan", "--json", "--board", "qemu-aarch64", "--image"]);
    let ended = common::run(plan.arg(common::demo("aarch64", "mini")).args(words));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let plans: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    plans[0]["sessions"][0]["cases"].as_array().unwrap().clone()
}

const SUITE: [&str; 4] = ["--suite", "power-cut", "--cuts", "4"];

#[test]
fn a_seed_gives_the_same_cuts_and_another_one_others() {
    let cuts = planned(&SUITE);
    assert!(cuts.iter().all(|case| !case["cuts"].as_array().unwrap().is_empty()), "{cuts:#?}");
    assert_eq!(planned(&SUITE), cuts);
    assert_ne!(planned(&[&SUITE[..], &["--seed", "2"]].concat()), cuts);
    let wrong = common::run(common::hil().args(["plan", "--board", "qemu-arm", "--replay", "x"]));
    assert_eq!(wrong.code, Some(2), "{}", wrong.said);
}

#[test]
fn a_cut_at_an_event_of_the_disk_is_met_again_by_its_replay() {
    let of_disk = |case: &serde_json::Value| case["cuts"][0]["point"]["step"]["ms"].is_null();
    let sample = planned(&["--case", "power-cut/during-boot", "--cuts", "9"]);
    let sample = sample.into_iter().find(of_disk).unwrap();
    let replay = format!("power-cut/during-boot@{}", sample["seed"]);
    let again = planned(&["--replay", &replay]);
    assert_eq!((again.len(), &again[0]["cuts"]), (1, &sample["cuts"]));

    let out = tempfile::tempdir().unwrap();
    let mut hil = common::hil();
    hil.args(["run", "--board", "qemu-aarch64", "--replay", &replay, "--image"]);
    let image = common::demo("aarch64", "mini");
    let ended = common::run(hil.arg(image).arg("--out").arg(out.path()));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let events = common::events(out.path(), "qemu-aarch64");
    let cut = events.iter().find_map(|event| event["what"].get("power-cut")).unwrap();
    assert_eq!(cut["seed"], sample["seed"]);
    // What had the disk stop is in flight when the power goes, unless the boot was over before it.
    let point = cut["point"].as_str().unwrap();
    let nth = sample["cuts"][0]["point"]["step"].as_object().unwrap().values().next().unwrap();
    assert!(point.contains(&format!(" {nth} after ")), "{point} is not {sample:#}");
}
