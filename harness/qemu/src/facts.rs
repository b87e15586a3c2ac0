//! What an emulator on this host can do, asked of the emulator itself, for `hil doctor`.

use std::time::Duration;

use hil_core::arch::Arch;
use hil_core::deadline::secs;
use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::error::QemuError;
use crate::guest;
use crate::launch::{Begin, BootWith, LaunchSpec, PATIENCE};
use crate::live::{Qemu, Started};
use crate::machine::{AccelKind, BootKind, DiskKind, Machine, NetworkKind, RngKind, Tcg};
use crate::probe::{Accel, Prober};
use crate::rundir::RunDir;

const ANSWER: Duration = secs(20);

/// What `hil doctor` tells of one emulator.
#[derive(Clone, Debug, PartialEq)]
pub struct QemuFacts {
    pub emulator: Emulator,
    /// `10.0.2`.
    pub version: String,
    /// What guests of the emulator's own architecture run on, and why not KVM.
    pub accel: Accel,
    /// Disks are served over NBD, so without it nothing boots.
    pub has_nbd: bool,
    /// User-mode networking: without it there is no SSH.
    pub has_user_network: bool,
    pub machines: Vec<String>,
    /// What `migrate` can do: `mapped-ram`, `x-ignore-shared`.
    pub migrate_capabilities: Vec<String>,
}

/// Asks the emulator for an architecture. `run` is a folder for its sockets.
pub async fn qemu_facts(arch: Arch, prober: &Prober, run: &RunDir) -> Result<QemuFacts, QemuError> {
    let emulator = Emulator::find(arch)?;
    let spec = LaunchSpec {
        name: "hil-facts".into(),
        accel: AccelKind::Tcg,
        memory_mib: None,
        boot: BootWith::Builtin,
        disks: Vec::new(),
        console: run.socket("facts-console")?,
        qmp: run.socket("facts-qmp")?,
        forwards: Vec::new(),
        extra: Vec::new(),
        begin: Begin::PowerOn,
        paused: true,
        patience: PATIENCE,
    };
    let Started { qemu, .. } = Qemu::start(&emulator, &asked(arch), &spec, run).await?;
    let qmp = qemu.qmp();
    let ask = |command| qmp.execute(command, json!({}), ANSWER);
    let machines = names(&ask("query-machines").await?, "name");
    let migrate_capabilities = names(&ask("query-migrate-capabilities").await?, "capability");
    // The schema lists the members of each enumeration; NBD and the user network are members.
    let schema = ask("query-qmp-schema").await?;
    let version = qmp.version().to_string();
    qemu.kill().await?;
    Ok(QemuFacts {
        emulator,
        version,
        accel: prober.probe_arch(arch).await?,
        has_nbd: enumerates(&schema, &["nbd", "raw", "qcow2"]),
        has_user_network: enumerates(&schema, &["user", "tap"]),
        machines,
        migrate_capabilities,
    })
}

/// A machine that never runs. QEMU's `none` will not do: x86 has no processor to put into it.
fn asked(arch: Arch) -> Machine {
    Machine {
        name: "facts".into(),
        title: "only asked, never run".into(),
        arch,
        machine: guest::machine(arch).into(),
        memory_mib: 16,
        fixed_memory: false,
        smp: 1,
        boot: vec![BootKind::Builtin],
        disk: DiskKind::VirtioBlkPci,
        network: NetworkKind::None,
        rng: RngKind::None,
        serial_index: 0,
        rtc: None,
        save: None,
        extra: Vec::new(),
        tcg: Tcg { cpu: "max".into(), slowness: 1.0, emulator: None },
        kvm: None,
    }
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    let mut names: Vec<String> =
        items.filter_map(|item| item.get(key)?.as_str().map(String::from)).collect();
    names.sort();
    names
}

/// Whether one enumeration of the schema has all the members.
fn enumerates(schema: &Value, members: &[&str]) -> bool {
    schema.as_array().into_iter().flatten().any(|item| {
        let values = item.get("values").and_then(Value::as_array);
        values.is_some_and(|values| {
            members.iter().all(|member| values.iter().any(|value| value == member))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_emulators_here_can_do_what_hil_needs() {
        let base = tempfile::tempdir().unwrap();
        let prober = Prober { host: None, ..Prober::default() };
        let machines =
            [(Arch::X86_64, "q35"), (Arch::Aarch64, "raspi3b"), (Arch::Arm, "cubieboard")];
        for (arch, machine) in machines {
            let run = RunDir::create_in(base.path(), arch.name()).unwrap();
            let facts = qemu_facts(arch, &prober, &run).await.unwrap();
            assert!(facts.has_nbd && facts.has_user_network, "{facts:?}");
            assert!(facts.machines.iter().any(|name| name.contains(machine)), "{facts:?}");
            assert!(facts.migrate_capabilities.iter().any(|name| name == "x-ignore-shared"));
            assert_eq!(facts.version.split('.').count(), 3, "{}", facts.version);
            assert_eq!(facts.accel.kind, AccelKind::Tcg);
        }
    }
}
