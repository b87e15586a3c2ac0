//! Limits: each is set through the engine and proved twice, by the value in the kernel (but for a root's
//! size, which has none) and by a hog that runs into it beside an unharmed neighbour. And the host: what
//! containers do to it.

mod cgroup;
mod cpu;
mod host;
mod link;
mod memory;
mod neighbour;
mod processes;
mod restart_loop;
mod storage;

use hil_core::case::Isolation::Fork;
use hil_core::prelude::*;

use crate::bench::{CONTAINERS, HOST_NETWORK, on_bench};

pub(crate) const SUITE: Suite = Suite {
    name: "limits",
    about: "Limits of containers hold, and what a container does harms neither its neighbours nor \
            the host.",
    deadline: secs(900),
    cases: &[
        Case::new("memory", secs(60), on_bench!(memory::memory, HOST_NETWORK))
            .about("A container that takes more memory than it may is killed, and nobody else.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("swap", secs(90), on_bench!(memory::swap, HOST_NETWORK))
            .about("A container swaps as much as it may and no more.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("cpu-quota", secs(60), on_bench!(cpu::quota, HOST_NETWORK))
            .about("A container that computes gets the share of a processor that it may have.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("cpuset", secs(60), on_bench!(cpu::cpuset, HOST_NETWORK))
            .about("A container runs on the processors that it was given.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("pids", secs(60), on_bench!(processes::pids, HOST_NETWORK))
            .about("A container has no more processes than it may.")
            .lasts(secs(12))
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("ulimits", secs(60), on_bench!(processes::ulimits, HOST_NETWORK))
            .about("The ulimits of a container hold.")
            .lasts(secs(7))
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("io-bandwidth", secs(60), on_bench!(storage::io_bandwidth, HOST_NETWORK))
            .about("A container writes no faster than it may.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("mount-sizes", secs(60), on_bench!(storage::mount_sizes, HOST_NETWORK))
            .about("A tmpfs and a sized volume hold what they were given and no more.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("root-size", secs(60), on_bench!(storage::root_size, HOST_NETWORK))
            .about("The root of a container holds what it was given and no more.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("fork-bomb", secs(60), on_bench!(processes::fork_bomb, HOST_NETWORK))
            .about(
                "A fork bomb in a container leaves the host usable, and goes with its container.",
            )
            .lasts(secs(8))
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("host-out-of-memory", secs(90), on_bench!(host::out_of_memory, HOST_NETWORK))
            .about("A container that takes all memory dies of it, not the engine, sshd or others.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("data-full", secs(90), on_bench!(host::data_full))
            .about("With the engine's file system full all behaves, and recovers with the space.")
            .lasts(secs(20))
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("inodes-exhausted", secs(150), on_bench!(host::inodes_exhausted))
            .about("Without inodes in the engine's file system all behaves, and recovers.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("lossy-pull", secs(90), on_bench!(link::lossy_pull, HOST_NETWORK))
            .about("An image is pulled whole over a link that is slow and loses packets.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("restart-loop", secs(90), on_bench!(restart_loop::backs_off, HOST_NETWORK))
            .about("A container that dies at once is started again after longer and longer pauses.")
            .lasts(secs(35))
            .needs(CONTAINERS)
            .isolation(Fork),
    ],
};

/// A limit that this system cannot set: a finding about it, and no pass.
fn finding(what: impl std::fmt::Display) -> Trouble {
    Trouble::Skip(format!("finding: {what}"))
}
