//! The command that runs a part of a run again: what reports tell beside a failure.

use hil_core::parts::quoted;

use crate::args::{IsolationArg, PolicyArg, SelectArgs};

/// Without its `--replay`, which is each case's own.
pub(crate) fn command(args: &SelectArgs, board: &str) -> String {
    let mut words = vec!["hil".to_string(), "run".into(), "--board".into(), quoted(board)];
    let mut option = |name: &str, value: &str| words.extend([name.into(), quoted(value)]);
    for image in &args.images {
        option("--image", &image.to_string_lossy());
    }
    let paths =
        [("--suite-dir", &args.suite_dir), ("--boards", &args.board_dir), ("--lab", &args.lab)];
    for (name, path) in paths {
        if let Some(path) = path {
            option(name, &path.to_string_lossy());
        }
    }
    if let Some(envelope) = &args.envelope {
        option("--envelope", &envelope.to_string());
    }
    match args.isolation {
        IsolationArg::Fork => {}
        IsolationArg::Reboot => option("--isolation", "reboot"),
        IsolationArg::Shared => option("--isolation", "shared"),
    }
    match args.cut_policy {
        PolicyArg::KeepAll => option("--cut-policy", "keep-all"),
        PolicyArg::DropAll => option("--cut-policy", "drop-all"),
        PolicyArg::Subset => {}
    }
    words.join(" ")
}
