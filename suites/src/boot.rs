//! Boot: the board comes up by every stage, and what runs is what the manifest says.

use std::time::Duration;

use hil_core::body;
use hil_core::parts::{Alarm, Seen};
use hil_core::prelude::*;

pub(crate) const SUITE: Suite = Suite {
    name: "boot",
    about: "Each boot stage is reached, and the running system is the one the manifest names.",
    deadline: secs(120),
    cases: &[
        Case::new("stages-in-order", secs(5), body!(stages_in_order))
            .about("Every stage the manifest marks is seen, in the order of a boot."),
        Case::new("no-kernel-trouble", secs(5), body!(no_kernel_trouble))
            .about("The kernel reports no panic, oops, lockup, hung task or OOM while booting."),
        Case::new("kernel-not-tainted", secs(10), body!(kernel_not_tainted))
            .about("The kernel is not tainted.")
            .needs(&[Need::Shell]),
        Case::new("version-as-built", secs(10), body!(version_as_built))
            .about("The running version is the one the manifest names.")
            .needs(&[Need::Shell, Need::Version]),
        Case::new("slot-as-built", secs(10), body!(slot_as_built))
            .about("A fresh image boots its first slot.")
            .needs(&[Need::Shell, Need::Slots]),
        Case::new("updater-agrees-on-slot", secs(15), body!(updater_agrees_on_slot))
            .about("The updater believes in the slot that really runs.")
            .needs(&[Need::Shell, Need::Slots, Need::Updater]),
        Case::new("clock-sane", secs(15), body!(clock_sane))
            .about("The clock shows a time after 2024 and runs.")
            .needs(&[Need::Shell]),
        Case::new("ssh-login", secs(15), body!(ssh_login))
            .about("SSH runs commands and gives exit status, stdout and stderr apart.")
            .needs(&[Need::Ssh]),
        Case::new("console-login", secs(20), body!(console_login))
            .about("The serial console gives a shell.")
            .needs(&[Need::ConsoleShell]),
        Case::new("root-is-read-only", secs(10), body!(root_is_read_only))
            .about("The root file system of an A/B image cannot be written.")
            .needs(&[Need::Shell, Need::Slots]),
        Case::new("no-failed-units", secs(20), body!(no_failed_units))
            .about("systemd reports no failed unit.")
            .needs(&[Need::Shell, Need::Systemd]),
        Case::new("reboot-comes-back", secs(30), body!(reboot_comes_back))
            .about("After a reboot the board is ready again, in the same slot.")
            .needs(&[Need::Shell]),
    ],
};

async fn stages_in_order(rig: &mut Rig) -> Outcome {
    let times = rig.boot_times().clone();
    let promised = rig.image().stages.by_stage().len();
    if promised == 0 && times.keys().all(|stage| *stage == Stage::Ready) {
        return Err(Trouble::Skip("no stage has a mark: give [stages] in image.toml".into()));
    }
    // A board's usual marks are welcome; only what the manifest itself marks is promised.
    for stage in rig.image().stages.by_stage().into_keys() {
        check!(times.contains_key(&stage), "the mark of {stage} was never seen");
    }
    let mut last = (Stage::Off, Duration::ZERO);
    for (stage, at) in times {
        check!(at >= last.1, "{stage} was seen before {}", last.0);
        rig.fact(&format!("boot.{stage}"), at.as_secs_f64(), "s");
        last = (stage, at);
    }
    Ok(())
}

async fn no_kernel_trouble(rig: &mut Rig) -> Outcome {
    let console = rig.console();
    let mut cursor = rig.session_cursor();
    while cursor < console.sightings() {
        let sighting = console.sighting(&mut cursor).await;
        if let Seen::Alarm(alarm) = sighting.what {
            // The cgroup of a container that met its limit is no trouble of the kernel's.
            let a_limit_at_work = alarm == Alarm::Oom && sighting.line.contains("Memory cgroup");
            check!(a_limit_at_work, "{}: {}", alarm.name(), sighting.line.trim());
        }
    }
    Ok(())
}

async fn kernel_not_tainted(rig: &mut Rig) -> Outcome {
    let taint = rig.os().taint(rig).await?;
    check!(taint == 0, "the kernel is tainted: flags {taint:#x} (see tainted-kernels.rst)");
    Ok(())
}

async fn version_as_built(rig: &mut Rig) -> Outcome {
    let built = rig.image().os.version.clone().or_fail("the manifest names no version")?;
    let running = rig.os().version(rig).await?;
    check!(running == built, "version {running} runs; the manifest says {built}");
    Ok(())
}

async fn slot_as_built(rig: &mut Rig) -> Outcome {
    let slots = rig.image().slots.clone().or_fail("the manifest names no slots")?;
    let running = rig.os().slot(rig).await?;
    check!(
        running == slots.first,
        "slot `{running}` runs; a fresh image must boot {}",
        slots.first
    );
    Ok(())
}

async fn updater_agrees_on_slot(rig: &mut Rig) -> Outcome {
    let updater = rig.updater()?;
    let believed = updater.booted_slot(rig).await?;
    let running = rig.os().slot(rig).await?;
    check!(believed == running, "{} believes in slot {believed}; {running} runs", updater.name());
    Ok(())
}

/// 2024-01-01: no image hil can boot is older than hil; a board without a clock shows 1970.
const EPOCH: i64 = 1_704_067_200;

async fn clock_sane(rig: &mut Rig) -> Outcome {
    let first = rig.os().clock(rig).await?;
    check!(first > EPOCH, "the clock shows {first} s since 1970, which is before 2024");
    rig.must("sleep 1").await?;
    let second = rig.os().clock(rig).await?;
    let went = second - first;
    check!((1..=60).contains(&went), "the clock went {went} s while a second was slept");
    Ok(())
}

async fn ssh_login(rig: &mut Rig) -> Outcome {
    let shell = rig.shell().map_or("no shell", |shell| shell.name());
    check!(shell == "ssh", "commands run over {shell}, not over SSH");
    let output = rig.run("echo out; echo err >&2; exit 7").await?;
    check!(output.status == 7, "exit 7 arrived as {}", output.status);
    check!(output.stdout == b"out\n", "stdout arrived as {:?}", output.text());
    check!(output.stderr == b"err\n", "stderr arrived as {:?}", output.said());
    Ok(())
}

async fn console_login(rig: &mut Rig) -> Outcome {
    let deadline = rig.within(secs(18));
    let shell = rig.console_shell()?;
    shell.open(deadline).await.or_fail("no login on the console")?;
    let output = shell.exec("echo out; exit 7", deadline).await?;
    check!(output.status == 7, "exit 7 arrived as {}", output.status);
    check!(output.stdout == b"out\n", "stdout arrived as {:?}", output.text());
    Ok(())
}

async fn root_is_read_only(rig: &mut Rig) -> Outcome {
    let output = rig.run("touch /hil-must-not-be-written").await?;
    check!(!output.ok(), "a file could be made in /");
    let mounts = rig.must("cat /proc/mounts").await?;
    let root = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some("/"));
    let root = root.or_fail("/proc/mounts has no root")?;
    let options = root.split(' ').nth(3).unwrap_or_default();
    check!(options.split(',').any(|option| option == "ro"), "/ is mounted `{options}`");
    Ok(())
}

async fn no_failed_units(rig: &mut Rig) -> Outcome {
    let failed = rig.os().failed_units(rig).await?;
    check!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

async fn reboot_comes_back(rig: &mut Rig) -> Outcome {
    let before = slot_if_any(rig).await?;
    rig.reboot().await.or_fail("the board did not come back")?;
    let after = slot_if_any(rig).await?;
    check!(before == after, "slot {before} before the reboot, {after} after");
    rig.fact("reboot.ready", ready_after(rig), "s");
    Ok(())
}

async fn slot_if_any(rig: &mut Rig) -> Outcome<String> {
    if rig.image().slots.is_some() { rig.os().slot(rig).await } else { Ok(String::new()) }
}

/// Seconds from the last boot's begin until it was ready.
fn ready_after(rig: &Rig) -> f64 {
    rig.boot_times().get(&Stage::Ready).map_or(0.0, Duration::as_secs_f64)
}
