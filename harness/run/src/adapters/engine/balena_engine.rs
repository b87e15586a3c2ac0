//! balena-engine, a Moby for devices: Docker's answers from programs of other names.

use super::docker::{SETUP, STANDING, VERSION};
use super::{Cli, TmpfsIn};

pub(in super::super) const BALENA_ENGINE: Cli = Cli {
    client: "balena-engine",
    daemons: &["balena-engine-daemon", "balena-engine-containerd"],
    pull: &["pull"],
    tmpfs_in: TmpfsIn::Bytes,
    version: VERSION,
    setup: SETUP,
    standing: STANDING,
};
