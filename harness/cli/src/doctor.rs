//! `hil doctor`: what this host lacks, each problem with its fix.

use std::net::TcpListener;
use std::path::Path;

use hil_core::arch::Arch;
use hil_core::verdict::exit;
use hil_lab::power::PowerSpec;
use hil_lab::serial::ConsoleSpec;
use hil_lab::serial::tty::Tty;
use hil_qemu::facts::{QemuFacts, qemu_facts};
use hil_qemu::probe::Prober;
use hil_qemu::{QemuError, RunDir};
use hil_run::prepare::tools;

use crate::args::DoctorArgs;
use crate::catalogue;
use crate::failure::Failure;
use crate::lab;
use crate::paths;
use crate::rack;
use crate::show::put;

/// A finding: good, a warning (slower or less), or a problem (a run would fail).
enum Finding {
    Good(String),
    Warning(String, String),
    Problem(String, String),
}

use Finding::{Good, Problem, Warning};

/// Tools besides QEMU: name, package, what for.
const TOOLS: &[(&str, &str, &str)] = &[
    ("qemu-img", "qemu-utils", "qcow2 images"),
    ("mcopy", "mtools", "files injected into FAT partitions, and the demo image"),
    ("debugfs", "e2fsprogs", "files injected into ext4 partitions, and the demo image"),
    ("mkfs.vfat", "dosfstools", "the demo image"),
    ("sfdisk", "fdisk", "the demo image"),
    ("mkimage", "u-boot-tools", "the demo image"),
    ("cpio", "cpio", "the demo image"),
    ("python3", "python3", "the demo image"),
];

/// Room that one run may fill: layers and captures.
const ROOM_MIB: u64 = 2048;

pub(crate) fn doctor(args: &DoctorArgs) -> Result<u8, Failure> {
    let mut findings = Vec::new();
    findings.extend(emulators()?);
    findings.extend(TOOLS.iter().map(|(tool, package, what)| tool_there(tool, package, what)));
    findings.push(ports());
    findings.extend(lab_ports(args));
    findings.push(room(&args.out, "where runs write, and their layers"));
    findings.push(room(&paths::cache()?, "the cache of images"));
    let mut problems = 0;
    for finding in &findings {
        match finding {
            Good(what) => put(&format!("ok       {what}\n")),
            Warning(what, fix) => put(&format!("warning  {what}\n         fix: {fix}\n")),
            Problem(what, fix) => {
                problems += 1;
                put(&format!("PROBLEM  {what}\n         fix: {fix}\n"));
            }
        }
    }
    if problems == 0 {
        put("\nThis host can run hil.\n");
        return Ok(exit::OK);
    }
    put(&format!("\n{problems} of {} checks found a problem.\n", findings.len()));
    Ok(exit::BROKEN)
}

/// Starts each emulator and asks it; the accelerator is proved by a guest.
fn emulators() -> Result<Vec<Finding>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::host(format!("failed to {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    let run = RunDir::create(&rack::run_id()).map_err(|error| failed(&error))?;
    let ask = |arch| (arch, runtime.block_on(qemu_facts(arch, &Prober::default(), &run)));
    let asked: Vec<_> = Arch::ALL.into_iter().map(ask).collect();
    let is_missing = |error: &QemuError| matches!(error, QemuError::NoEmulator { .. });
    let all_missing = asked.iter().all(|(_, facts)| facts.as_ref().is_err_and(is_missing));
    let mut findings = Vec::new();
    for (arch, facts) in &asked {
        match facts {
            Ok(facts) => findings.extend(of_emulator(*arch, facts)),
            // Who tests one architecture needs one emulator.
            Err(error) if is_missing(error) && !all_missing => findings.push(Warning(
                format!("{arch}: no emulator, so none of its boards"),
                install(*arch),
            )),
            Err(error) => {
                findings.push(Problem(format!("{arch}: failed to {error}"), install(*arch)));
            }
        }
    }
    Ok(findings)
}

/// The serial ports of the lab's boards, where there is a lab: of consoles and of relays.
fn lab_ports(args: &DoctorArgs) -> Vec<Finding> {
    let loaded = catalogue::load(None).and_then(|known| lab::load(args.lab.as_deref(), &known));
    let lab = match loaded {
        Ok(Some(lab)) => lab,
        Ok(None) => return Vec::new(),
        Err(failure) => {
            let fix = "mend it; `hil schema lab` and harness/lab/README.md show what it may hold";
            return vec![Problem(failure.message, fix.into())];
        }
    };
    let mut findings: Vec<Finding> = Vec::new();
    for instance in lab.instance.values() {
        let said = |what: &str, console: &ConsoleSpec| {
            let of = console.doctor_findings().into_iter();
            let name = &instance.name;
            of.map(|found| Problem(format!("{name}, {what}: {}", found.what), found.fix)).collect()
        };
        let mut of_board: Vec<Finding> = said("console", &instance.console);
        let relay = match &instance.power {
            PowerSpec::Lcus(relay) => Some(&relay.port),
            PowerSpec::ModbusRtu(relay) => Some(&relay.port),
            _ => None,
        };
        let relay = relay.map(|port| ConsoleSpec::Tty(Tty::new(port)));
        of_board.extend(relay.into_iter().flat_map(|port| said("relay", &port)));
        if of_board.is_empty() {
            let (name, console) = (&instance.name, &instance.console);
            let local = match console {
                ConsoleSpec::Tty(tty) => format!("{} can be opened", tty.port.display()),
                _ => "its console is on the network and was not tried".into(),
            };
            of_board.push(Good(format!("{name}: {local}")));
        }
        findings.extend(of_board);
    }
    findings
}

/// What installs an emulator on Debian and Ubuntu.
fn install(arch: Arch) -> String {
    let package = match arch {
        Arch::X86_64 => "qemu-system-x86",
        Arch::Aarch64 | Arch::Arm => "qemu-system-arm",
    };
    format!("apt install {package}")
}

fn of_emulator(arch: Arch, facts: &QemuFacts) -> Vec<Finding> {
    let path = facts.emulator.path.display();
    let mut findings = vec![Good(format!("{arch}: {path} {}", facts.version))];
    if !facts.has_nbd {
        let fix = "install QEMU with NBD (Debian: qemu-block-extra is not enough, rebuild it)";
        findings.push(Problem(format!("{arch}: QEMU has no NBD, so no disk"), fix.into()));
    }
    if !facts.has_user_network {
        let fix = "install QEMU with slirp, as Debian's and Ubuntu's have it";
        findings.push(Warning(format!("{arch}: no user network, so no SSH"), fix.into()));
    }
    findings.push(match &facts.accel.reason {
        None => Good(format!("{arch}: KVM works")),
        Some(why) => Warning(
            format!("{arch}: {why}"),
            "none needed: runs are slower, and deadlines are longer".into(),
        ),
    });
    findings
}

fn tool_there(tool: &str, package: &str, what: &str) -> Finding {
    match tools::find(tool) {
        Some(file) => Good(format!("{}: {what}", file.display())),
        None => Warning(format!("{tool} is missing: {what}"), format!("apt install {package}")),
    }
}

fn ports() -> Finding {
    match TcpListener::bind("127.0.0.1:0") {
        Ok(_) => Good("ports can be opened on 127.0.0.1".into()),
        Err(error) => Problem(
            format!("no port can be opened on 127.0.0.1: {error}"),
            "bring the loopback device up: ip link set lo up".into(),
        ),
    }
}

fn room(dir: &Path, what: &str) -> Finding {
    let exists = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
    let shown = dir.display();
    match rustix::fs::statvfs(exists) {
        Err(error) => Problem(format!("{shown}: {error} ({what})"), "give another folder".into()),
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize / (1 << 20);
            let text = format!("{shown}: {free} MiB free ({what})");
            match free < ROOM_MIB {
                true => Problem(text, format!("free some space: a run may fill {ROOM_MIB} MiB")),
                false => Good(text),
            }
        }
    }
}
