//! Containers: the engine is there in time and as built, runs containers as it should, and brings
//! them back after its own death and the board's.

mod data;
mod engine;
mod foreign;
mod life;
mod network;
mod restart;

use hil_core::body;
use hil_core::case::Isolation::Fork;
use hil_core::prelude::*;

use crate::bench::{CONTAINERS, HOST_NETWORK, on_bench};

pub(crate) const SUITE: Suite = Suite {
    name: "containers",
    about: "The container engine starts, runs containers, and brings them back after a reboot or \
            its own death.",
    deadline: secs(900),
    cases: &[
        Case::new("engine-ready", secs(60), body!(engine::ready))
            .about("The engine's daemon answers in the time that the manifest states.")
            .needs(&[Need::Shell, Need::Engine]),
        Case::new("engine-as-built", secs(20), body!(engine::as_built))
            .about("Storage driver, cgroup version and runtime are those that the manifest names.")
            .needs(&[Need::Shell, Need::Engine, Need::EngineSetup]),
        Case::new("offline-image-runs", secs(60), on_bench!(life::offline_image_runs))
            .about("An image loaded from a file runs and its output arrives.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("exit-codes", secs(90), on_bench!(life::exit_codes, HOST_NETWORK))
            .about("The engine's own failures and the container's exit codes are told apart.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("logs-kept", secs(60), on_bench!(life::logs_kept, HOST_NETWORK))
            .about("stdout and stderr of a container in the background are kept, apart.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new(
            "stop-asks-then-kills",
            secs(60),
            on_bench!(life::stop_asks_then_kills, HOST_NETWORK),
        )
        .about("Stopping sends SIGTERM first, and SIGKILL to a container that does not listen.")
        .needs(CONTAINERS)
        .isolation(Fork),
        Case::new("read-only-root", secs(60), on_bench!(life::read_only_root, HOST_NETWORK))
            .about("The root of a container with --read-only cannot be written, its tmpfs can.")
            .lasts(secs(7))
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("health-states", secs(60), on_bench!(life::health_states, HOST_NETWORK))
            .about("A health check goes from starting to healthy, and to unhealthy when it fails.")
            .lasts(secs(16))
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("many-at-once", secs(90), on_bench!(life::many_at_once))
            .about("Containers that are started at the same time all run.")
            .lasts(secs(26))
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new(
            "wrong-architecture",
            secs(60),
            on_bench!(foreign::wrong_architecture, HOST_NETWORK),
        )
        .about("An image of another architecture fails, and the error names the reason.")
        .needs(CONTAINERS)
        .isolation(Fork),
        Case::new("published-port", secs(60), on_bench!(network::published_port))
            .about("A published port of a container answers at the board's own address.")
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("containers-talk", secs(90), on_bench!(network::containers_talk))
            .about("Containers of one network reach each other by name; one of another network does not.")
            .lasts(secs(24))
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new(
            "data-outlives-container",
            secs(90),
            on_bench!(data::outlives_container, HOST_NETWORK),
        )
        .about("What a container wrote to a volume or a bind mount is there for the next one.")
        .lasts(secs(9))
        .needs(CONTAINERS)
        .isolation(Fork),
        Case::new("restart-policies", secs(90), on_bench!(restart::policies))
            .about("Containers that die are started again as often as their policy says.")
            .lasts(secs(33))
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("engine-killed", secs(90), on_bench!(restart::engine_killed))
            .about("After the engine was killed it comes back, and containers by their policies.")
            .lasts(secs(37))
            .needs(CONTAINERS)
            .isolation(Fork),
        Case::new("engine-hangs", secs(180), on_bench!(restart::engine_hangs))
            .about("An engine part that hangs is noticed by its watchdog, and recovers.")
            .lasts(secs(90))
            .needs(&[Need::Shell, Need::Engine, Need::OfflineImage, Need::Systemd])
            .isolation(Fork),
        Case::new(
            "killed-while-loading",
            secs(120),
            on_bench!(data::killed_while_loading, HOST_NETWORK),
        )
        .about("An engine killed while it loads an image keeps a store that is whole.")
        .lasts(secs(24))
        .needs(CONTAINERS)
        .isolation(Fork),
        Case::new("reboot-restores", secs(150), on_bench!(restart::reboot_restores))
            .about("After a reboot data is there, and containers run by their policies.")
            .needs(CONTAINERS)
            .isolation(Fork),
    ],
};
