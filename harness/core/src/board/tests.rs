//! Board files as they are written: what is taken, and where a mistake is shown.

use super::*;

fn parse(text: &str) -> Result<Board, ConfigError> {
    Board::parse(text, Path::new("boards/qemu-x.toml"))
}

#[test]
fn a_small_board_gets_its_defaults() {
    let text = "title = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"virt-arm\"\n";
    let board = parse(text).unwrap();
    assert_eq!((board.name.as_str(), board.console.baud), ("qemu-x", 115_200));
    assert_eq!(board.storage.medium, None);
}

#[test]
fn a_bad_regex_is_shown_where_it_stands() {
    let text = "title = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"m\"\n[stages]\nready = \"(\"\n";
    let error = parse(text).unwrap_err();
    assert_eq!((error.line, error.column), (6, 9));
}

#[test]
fn names_tell_emulated_from_physical() {
    let error = parse("title = \"X\"\narch = \"arm\"\n").unwrap_err();
    assert!(error.to_string().contains("[qemu]"), "{error}");
}

fn physical(more: &str) -> Result<Board, ConfigError> {
    let text = format!("title = \"X\"\narch = \"arm\"\nsources = [\"a book\"]\n{more}");
    Board::parse(&text, Path::new("boards/x.toml"))
}

fn mistake_at(more: &str) -> (usize, usize, String) {
    let error = physical(more).unwrap_err();
    (error.line, error.column, error.message)
}

#[test]
fn a_physical_board_gives_its_sources() {
    assert_eq!(physical("").unwrap().storage.medium, None);
    let bare = "title = \"X\"\narch = \"arm\"\n";
    let error = |text: &str| Board::parse(text, Path::new("boards/x.toml")).unwrap_err();
    assert!(error(bare).to_string().contains("gives its `sources`"), "{}", error(bare));
    assert_eq!(error(&format!("{bare}sources = []\n")).line, 3);
    assert_eq!(error(&format!("{bare}sources = [\"a\", \" \"]\n")).column, 17);
}

#[test]
fn emulation_and_hardware_are_kept_apart() {
    let (line, column, why) = mistake_at("[storage]\nmedium = \"virtio-wb\"\n");
    assert_eq!((line, column), (5, 10), "{why}");
    let text = "title = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"m\"\n\
                [flash.sd]\ndevice_at = \"mmcblk0\"\n";
    assert_eq!(parse(text).unwrap_err().line, 5);
}

#[test]
fn a_step_says_which_placeholder_is_unknown() {
    let loader = "[flash.loader]\ntool = \"uuu\"\nsteps = [\n  [\"uuu\", \"{imgae}\"],\n]\n";
    let (line, column, why) = mistake_at(loader);
    assert_eq!((line, column), (7, 11), "{why}");
    assert!(why.contains("{imgae}: there are {image}, {bootloader}"), "{why}");
    assert!(physical(&loader.replace("imgae", "image")).is_ok());
}

#[test]
fn a_loader_is_something_that_can_be_done() {
    let with = |rest: &str| mistake_at(&format!("[flash.loader]\n{rest}\n")).2;
    assert!(with("tool = \"uuu\"\nsteps = []").contains("give a step"));
    assert!(with("tool = \"uuu\"\nsteps = [[\"dd\"]]").contains("no step runs uuu"));
    assert!(with("tool = \"command\"\nsteps = [[]]").contains("begins with a program"));
    let ums = "tool = \"command\"\nuboot = [\"ums 0 mmc 0\"]\nprovides = \"block-device\"";
    assert!(with(ums).contains("no [uboot] table"));
    assert!(physical(&format!("[uboot]\n[flash.loader]\n{ums}\n")).is_ok());
    assert!(mistake_at("[flash]\n").2.contains("give one of [flash.sd]"));
    assert!(mistake_at("[flash.sd]\ndevice_at = \"/dev/sda\"\n").2.contains("without /dev/"));
}

#[test]
fn uboot_is_upstreams_unless_said_otherwise() {
    let uboot = physical("[uboot]\nprompt = '^odroidc2#'\n").unwrap().uboot.unwrap();
    assert_eq!((uboot.prompt.as_str(), uboot.interrupt.as_str()), ("^odroidc2#", " "));
    assert_eq!(mistake_at("[uboot]\nprompt = '('\n").0, 5);
    assert_eq!(mistake_at("[uboot]\ninterrupt = ''\n").0, 5);
}

#[test]
fn marks_are_checked_against_real_lines() {
    let marks = "[stages]\nfirmware = 'U-Boot SPL'\nbootloader = 'U-Boot 20\\d\\d'\n[samples]\n";
    let with = |sample: &str| physical(&format!("{marks}{sample}\n"));
    assert!(with("bootloader = 'U-Boot 2019.04 (Mar 06 2020)'").is_ok());
    let wrong = with("bootloader = 'U-Boot SPL 2019.04'").unwrap_err();
    assert_eq!((wrong.line, wrong.column), (8, 14), "{wrong}");
    assert!(with("kernel = 'Linux version 6.1'").is_err(), "there is no mark for it");
    let early = with("firmware = 'U-Boot SPL, then U-Boot 2019'").unwrap_err();
    assert!(early.to_string().contains("stages.bootloader matches this line"), "{early}");
    assert!(with("prompt = '=> '").is_err(), "no [uboot]");
    assert!(physical("[uboot]\n[samples]\nprompt = '=> '\n").is_ok());
    assert_eq!(physical("[uboot]\n[samples]\nprompt = '# '\n").unwrap_err().line, 6);
}

#[test]
fn a_wrong_architecture_says_what_there_is() {
    for (wrong, right) in [("aarch46", "aarch64"), ("arm64", "aarch64"), ("amd64", "x86_64")] {
        let error = parse(&format!("title = \"X\"\narch = \"{wrong}\"\n")).unwrap_err();
        let help = format!("did you mean `{right}`?");
        assert_eq!(error.help.as_deref(), Some(help.as_str()), "{error}");
    }
}

#[test]
fn values_out_of_bounds_are_shown_where_they_stand() {
    let with = |top: &str, memory: &str| {
        let text = format!("{top}\ntitle = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"m\"\n");
        parse(&format!("{text}{memory}\n")).map_err(|error| (error.line, error.column))
    };
    for wrong in ["slowness = nan", "slowness = 0.05", "slowness = 1e4"] {
        assert_eq!(with(wrong, "").unwrap_err(), (1, 12), "{wrong}");
    }
    for wrong in ["boot_deadline_s = 0", "boot_deadline_s = 86401"] {
        assert_eq!(with(wrong, "").unwrap_err(), (1, 19), "{wrong}");
    }
    assert_eq!(with("", "memory_mib = 2").unwrap_err(), (6, 14));
    assert!(with("slowness = 1000", "memory_mib = 16").is_ok());
    assert!(with("boot_deadline_s = 86400", "").is_ok());
    for wrong in ["256", "1000", "2097152"] {
        let storage = format!("[storage]\natomic_unit = {wrong}");
        assert_eq!(with("", &storage).unwrap_err(), (7, 15), "{wrong}");
    }
    assert!(with("", "[storage]\natomic_unit = 512").is_ok());
}
