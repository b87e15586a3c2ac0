//! Docker (`docker inspect` and `docker info`, formatted, of 20.10).

use super::{Cli, TmpfsIn};

pub(in super::super) const DOCKER: Cli = Cli {
    client: "docker",
    daemons: &["dockerd", "containerd"],
    pull: &["pull"],
    tmpfs_in: TmpfsIn::Bytes,
    version: VERSION,
    setup: SETUP,
    standing: STANDING,
};

pub(super) const VERSION: &str = "{{.ServerVersion}}";
pub(super) const SETUP: &str =
    "{{.Driver}}|{{.CgroupVersion}}|{{.DefaultRuntime}}|{{.DockerRootDir}}";
pub(super) const STANDING: &str = "{{.State.Running}}|{{.State.ExitCode}}|{{.RestartCount}}|\
     {{.State.Pid}}|{{if .State.Health}}{{.State.Health.Status}}{{end}}";
