//! podman: no daemon, and names of its own for what it says (4.3). Containers with a restart
//! policy are started after a boot by `podman-restart.service`, which the image must have enabled.

use super::{Cli, TmpfsIn};

pub(in super::super) const PODMAN: Cli = Cli {
    client: "podman",
    daemons: &[],
    pull: &["pull", "--tls-verify=false"],
    tmpfs_in: TmpfsIn::Pages,
    version: "{{.Version.Version}}",
    setup: "{{.Store.GraphDriverName}}|{{.Host.CgroupsVersion}}|{{.Host.OCIRuntime.Name}}|\
            {{.Store.GraphRoot}}",
    standing: "{{.State.Running}}|{{.State.ExitCode}}|{{.RestartCount}}|{{.State.Pid}}|\
               {{.State.Health.Status}}",
};
