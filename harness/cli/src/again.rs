//! The command that runs a part of a run again: what reports tell beside a failure.

use hil_core::parts::quoted;

use crate::args::{IsolationArg, PolicyArg, SelectArgs};

/// Where it writes: in `out` it would remove the run that it repeats. A replay's own replay needs another.
const OUT: &str = "replay";

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
    option("--out", OUT);
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    #[test]
    fn it_is_this_runs_words_with_a_folder_of_its_own() {
        let words = ["hil", "run", "--board", "a", "--image", "my os", "--cut-policy", "drop-all"];
        let Command::Run(args) = Args::parse_from(words).command else { panic!("no run") };
        let again = "hil run --board b-1 --image 'my os' --cut-policy drop-all --out replay";
        assert_eq!(command(&args.select, "b-1"), again);
    }
}
