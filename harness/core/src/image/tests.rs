//! The manifest: what is taken, and how a mistake is told.

use super::*;

const TEN_LINES: &str = r#"
name = "mine"
arch = "aarch64"
[boot.kernel]
file = "Image"
initrd = "initrd.gz"
cmdline = "console=ttyAMA0"
[stages]
ready = "welcome"
"#;

fn parse(text: &str) -> Result<Image, ConfigError> {
    Image::parse(text, Path::new("dir/image.toml"))
}

#[test]
fn ten_lines_are_an_image() {
    let image = parse(TEN_LINES).unwrap();
    let Boot::Kernel(kernel) = &image.boot else { panic!("{:?}", image.boot) };
    assert_eq!(image.path(&kernel.file), Path::new("dir/Image"));
    assert!(image.offers().is_empty());
}

#[test]
fn a_misspelt_boot_kind_is_suggested() {
    let error = parse(&TEN_LINES.replace("boot.kernel", "boot.kernal")).unwrap_err();
    assert_eq!(error.help.as_deref(), Some("did you mean `kernel`?"), "{error}");
}

#[test]
fn nothing_to_boot_is_told() {
    let error = parse("name = \"x\"\narch = \"arm\"\n").unwrap_err();
    assert!(error.to_string().contains("nothing to boot"), "{error}");
}

#[test]
fn the_first_slot_must_be_one_of_the_slots() {
    let slots = "[slots]\nnames = [\"A\"]\nfirst = \"C\"\ncommand = \"true\"\n";
    let error = parse(&format!("{TEN_LINES}{slots}")).unwrap_err();
    assert_eq!(error.line, 12, "{error}");
}

#[test]
fn a_wrong_inject_is_shown_where_it_stands() {
    let inject = "[[inject]]\npartition = \"boot\"\npath = \"a\"\n";
    let error = parse(&format!("{TEN_LINES}{inject}text = \"x\"\n{inject}")).unwrap_err();
    assert_eq!(error.line, 14, "{error}");
}

#[test]
fn the_init_says_whether_cases_may_need_systemd() {
    let with = |init: &str| parse(&format!("{TEN_LINES}[os]\ninit = \"{init}\"\n"));
    assert!(with("systemd").unwrap().offers().contains(&Need::Systemd));
    assert!(!with("busybox").unwrap().offers().contains(&Need::Systemd));
    let error = with("sytemd").unwrap_err();
    assert_eq!((error.line, error.help.as_deref()), (11, Some("did you mean `systemd`?")));
}

#[test]
fn values_out_of_bounds_are_shown_where_they_stand() {
    let nameless = parse(&TEN_LINES.replace("mine", " ")).unwrap_err();
    assert_eq!((nameless.line, nameless.column), (2, 8), "{nameless}");
    let small = parse(&format!("memory_mib = 15{TEN_LINES}")).unwrap_err();
    assert_eq!((small.line, small.column), (1, 14), "{small}");
    assert!(parse(&format!("memory_mib = 16{TEN_LINES}")).is_ok());
}

const UPDATES: &str = r#"
[slots]
names = ["A", "B"]
first = "A"
command = "true"
[updates]
good = { file = "good.raucb", version = "2.0.0" }
older = { file = "old.raucb", version = "0.9.0" }
[updates.broken.kernel-panics]
file = "panics.raucb"
version = "2.0.1"
"#;

#[test]
fn bundles_are_offered_by_what_is_wrong_with_them() {
    let offers = parse(&format!("{TEN_LINES}{UPDATES}")).unwrap().offers();
    assert!(offers.contains(&Need::Update));
    assert!(offers.contains(&Need::BrokenUpdate(Flaw::KernelPanics)));
    assert!(!offers.contains(&Need::BrokenUpdate(Flaw::InitExits)));
    // Nobody said what is to become of an older one.
    assert!(!offers.contains(&Need::OlderUpdate));
    let policy = UPDATES.replace("[updates]\n", "[updates]\ndowngrade = \"refused\"\n");
    let offers = parse(&format!("{TEN_LINES}{policy}")).unwrap().offers();
    assert!(offers.contains(&Need::OlderUpdate));
    let misspelt = UPDATES.replace("kernel-panics", "kernel-panic");
    let error = parse(&format!("{TEN_LINES}{misspelt}")).unwrap_err();
    assert_eq!(error.help.as_deref(), Some("did you mean `kernel-panics`?"), "{error}");
}

#[test]
fn a_custom_updaters_progress_is_a_regex() {
    let updater = "[updater.custom]\ninstall = \"i {bundle}\"\nslots = \"s\"\nmark_good = \"m\"\n";
    let with = |progress: &str| parse(&format!("{TEN_LINES}{updater}progress = '{progress}'\n"));
    assert!(with("([0-9]+)%").unwrap().offers().contains(&Need::Updater));
    assert_eq!(with("([0-9]+%").unwrap_err().line, 14);
}
