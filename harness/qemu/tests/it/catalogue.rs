//! The files of `boards/` and `qemu-configs/`: all of them valid, with fresh schemas beside them.

use std::fs;
use std::path::{Path, PathBuf};

use hil_core::board::{Board, Medium};
use hil_qemu::Machine;
use hil_qemu::catalogue::Catalogue;
use hil_qemu::machine::{DiskKind, NetworkKind};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn stems(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut stems: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_string())
        .collect();
    stems.sort();
    stems
}

#[test]
fn every_file_of_the_repository_is_built_in_and_valid() {
    let catalogue = Catalogue::shipped().unwrap_or_else(|error| panic!("{error}"));
    let boards: Vec<&str> = catalogue.boards().map(|board| board.name.as_str()).collect();
    assert_eq!(boards, stems("boards"));
    let machines: Vec<&str> = catalogue.machines().map(|machine| machine.name.as_str()).collect();
    assert_eq!(machines, stems("qemu-configs"));
}

#[test]
fn boards_agree_with_their_machines() {
    let catalogue = Catalogue::shipped().unwrap();
    for board in catalogue.boards().filter(|board| board.is_emulated()) {
        let machine = catalogue.machine(&board.qemu.as_ref().unwrap().machine).unwrap();
        // QEMU's cards get no flush: a volatile cache there would accuse a correct guest.
        let card = machine.disk == DiskKind::SdCard;
        assert_eq!(card, board.storage.medium == Some(Medium::EmmcCacheOff), "{}", board.name);
        assert_eq!(card, board.storage.power_of_two, "{}", board.name);
        let network = machine.network != NetworkKind::None;
        assert!(network || !board.network.works, "{}", board.name);
    }
}

struct Project(tempfile::TempDir);

impl Project {
    fn new(files: &[(&str, &str)]) -> Project {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Project(folder)
    }

    fn load(&self) -> Result<Catalogue, hil_core::located::ConfigError> {
        Catalogue::load(&[self.0.path().join("boards")])
    }
}

const MINE: &str = "title = \"Mine\"\narch = \"arm\"\n\n[qemu]\nmachine = \"virt-arm\"\n";

#[test]
fn a_users_board_is_one_file_and_may_replace_a_shipped_one() {
    let project = Project::new(&[
        ("boards/qemu-mine.toml", MINE),
        ("boards/qemu-arm.toml", &MINE.replace("Mine", "Other")),
        ("boards/notes.txt", "not a board"),
    ]);
    let catalogue = project.load().unwrap();
    assert_eq!(catalogue.board("qemu-mine").unwrap().title, "Mine");
    assert_eq!(catalogue.board("qemu-arm").unwrap().title, "Other");
    assert!(catalogue.board("qemu-aarch64").is_some(), "the shipped ones stay");
    assert!(catalogue.board_file("qemu-mine").unwrap().ends_with("boards/qemu-mine.toml"));
}

#[test]
fn a_users_machine_stands_beside_the_boards() {
    let machine = fs::read_to_string(root().join("qemu-configs/virt-arm.toml")).unwrap();
    let board = MINE.replace("virt-arm", "my-machine");
    let files = [("boards/qemu-mine.toml", &*board), ("qemu-configs/my-machine.toml", &machine)];
    let catalogue = Project::new(&files).load().unwrap();
    assert_eq!(catalogue.machine("my-machine").unwrap().arch, hil_core::arch::Arch::Arm);
}

#[test]
fn a_board_on_no_machine_is_shown_where_it_says_so() {
    let board = MINE.replace("virt-arm", "virt-amr");
    let error = Project::new(&[("boards/qemu-mine.toml", &board)]).load().unwrap_err();
    assert_eq!((error.line, error.column), (5, 11), "{error}");
    assert_eq!(error.help.as_deref(), Some("did you mean `virt-arm`?"));
    let board = MINE.replace("\"arm\"", "\"aarch64\"");
    let error = Project::new(&[("boards/qemu-mine.toml", &board)]).load().unwrap_err();
    assert_eq!((error.line, error.column), (2, 8), "{error}");
    let board = MINE.replace("virt-arm", "cubieboard") + "memory_mib = 64\n";
    let error = Project::new(&[("boards/qemu-mine.toml", &board)]).load().unwrap_err();
    assert_eq!((error.line, error.column), (6, 14), "{error}");
}

#[test]
fn a_physical_board_names_an_emulation_there_is() {
    let at = |emulation: &str, arch: &str| {
        let board = format!(
            "title = \"M\"\narch = \"{arch}\"\nsources = [\"a book\"]\n\
             emulated_by = \"{emulation}\"\n"
        );
        Project::new(&[("boards/mine.toml", &board)]).load()
    };
    assert!(at("qemu-arm", "arm").is_ok());
    for (emulation, arch) in [("qemu-amr", "arm"), ("beaglebone", "arm"), ("qemu-arm", "x86_64")] {
        let error = at(emulation, arch).unwrap_err();
        assert_eq!((error.line, error.column), (4, 15), "{emulation}: {error}");
    }
}

#[test]
fn a_missing_folder_is_named() {
    let error = Catalogue::load(&["/nonexistent/boards".into()]).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/boards: cannot be read"), "{error}");
}

/// Editors complete and check the files by these; `UPDATE_SCHEMAS=1` writes them anew.
#[test]
fn the_schemas_are_fresh() {
    let schemas = [
        ("boards/board.schema.json", schemars::schema_for!(Board)),
        ("qemu-configs/machine.schema.json", schemars::schema_for!(Machine)),
    ];
    for (name, schema) in schemas {
        let fresh = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let file = root().join(name);
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::write(&file, &fresh).unwrap();
        }
        let there = fs::read_to_string(&file).unwrap_or_default();
        let hint = "run `UPDATE_SCHEMAS=1 cargo test -p hil-qemu --test it`";
        assert!(there == fresh, "{name} is stale: {hint}");
    }
}
