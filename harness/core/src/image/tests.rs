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
