//! Custom suites through the real binary: their words, and one that nobody here wrote on two boards.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{demo, hil, junit, root, run};

/// A folder of suites with one in it.
fn mine(dir: &Path, more: &str) -> PathBuf {
    let folder = dir.join("suites/mine");
    fs::create_dir_all(&folder).unwrap();
    let text = format!("about = \"Mine.\"\n[[case]]\nname = \"net\"\nrun = \"./net\"\n{more}");
    fs::write(folder.join("suite.toml"), text).unwrap();
    dir.join("suites")
}

#[test]
fn suites_beside_the_users_project_are_found_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let folder = mine(dir.path(), "format = \"tap\"\nneeds = [\"systemd\"]\n");
    let listed = run(hil().arg("suites").current_dir(dir.path()));
    assert!(
        listed.out.contains("mine - Mine.\n  mine/net:  [needs shell, systemd]"),
        "{}",
        listed.out
    );
    let listed = run(hil().args(["suites", "--suite-dir"]).arg(folder.join("mine")));
    assert!(listed.out.contains("mine/net"), "{}", listed.said);
    let empty = run(hil().args(["suites", "--suite-dir"]).arg(dir.path()));
    assert_eq!(empty.code, Some(2));
    assert!(empty.said.contains("there is no suite.toml in"), "{}", empty.said);

    mine(dir.path(), "format = \"tapp\"\n");
    let wrong = run(hil().arg("suites").current_dir(dir.path()));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.said.contains("suites/mine/suite.toml:5:10: unknown variant"), "{}", wrong.said);
    assert!(wrong.said.contains("did you mean `tap`?"), "{}", wrong.said);

    fs::rename(folder.join("mine"), folder.join("boot")).unwrap();
    mine(dir.path(), "");
    fs::rename(folder.join("mine/suite.toml"), folder.join("boot/suite.toml")).unwrap();
    let twice = run(hil().arg("suites").current_dir(dir.path()));
    assert!(twice.said.contains("there is a suite `boot` already"), "{}", twice.said);
}

#[test]
fn a_plan_knows_their_needs_and_globs_may_name_their_tests() {
    let dir = tempfile::tempdir().unwrap();
    mine(dir.path(), "");
    fs::write(dir.path().join("k"), "no header").unwrap();
    let text =
        "name = \"x\"\narch = \"arm\"\n[boot.kernel]\nfile = \"k\"\n[login]\nuser = \"root\"\n";
    fs::write(dir.path().join("image.toml"), text).unwrap();
    let plan = |words: &[&str]| {
        let words = [&["plan", "--board", "qemu-arm", "--image", "image.toml"], words].concat();
        run(hil().args(words).current_dir(dir.path()))
    };
    assert!(plan(&[]).out.contains("    mine/net\n"), "{}", plan(&[]).said);
    let json = plan(&["--require", "mine/net/dns*", "--json"]);
    assert_eq!(json.code, Some(0), "{}", json.said);
    let plans: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(plans[0]["rules"]["required"][0], "mine/net/dns*");
    let cases = plans[0]["sessions"][0]["cases"].as_array().unwrap();
    let net = cases.iter().find(|case| case["id"]["name"] == "net").unwrap();
    assert_eq!(net["required"], true, "a case of which a test is required is required itself");
    // Cases in code have no tests within.
    let slip = plan(&["--require", "boot/clock-sane/dns"]);
    assert_eq!(slip.code, Some(2), "{}", slip.said);
}

/// GLib's programs and Charliecloud's bats files, from Debian's packages, on two boards: what they
/// print becomes testcases.
#[test]
fn suites_that_nobody_here_wrote_run_on_two_boards() {
    let dir = tempfile::tempdir().unwrap();
    let (suites, out) = (dir.path().join("suites"), dir.path().join("o"));
    let boards = [("qemu-aarch64", "aarch64"), ("qemu-x86_64", "x86_64")];
    let mut command = hil();
    command.args(["run", "--suite", "glib", "--suite", "charliecloud", "--jobs", "1"]);
    command.args(["--require", "glib/*", "--require", "charliecloud/sanity/executables*"]);
    command.arg("--suite-dir").arg(&suites).arg("--out").arg(&out);
    for (board, arch) in boards {
        let make = root().join("fixtures/examples/package-tests/make");
        let made = Command::new(make).arg(arch).arg(&suites).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        command.args(["--board", board, "--image"]).arg(demo(arch, "mini"));
    }
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let xml = junit(&out);
    let document = roxmltree::Document::parse(&xml).unwrap();
    for (board, _) in boards {
        let names = |suite: &str| -> Vec<&str> {
            let class = format!("{board}.{suite}");
            let of_board =
                document.descendants().filter(|node| node.attribute("classname") == Some(&class));
            of_board.filter_map(|node| node.attribute("name")).collect()
        };
        let (glib, bats) = (names("glib"), names("charliecloud"));
        // As many as the package's programs plan: 28, 46 and 28, and the three cases themselves.
        assert!(glib.len() >= 90, "{glib:?}");
        for name in ["hash", "hash//hash/misc", "base64//base64/encode-decode/rfc4648"] {
            assert_eq!(glib.iter().filter(|known| **known == name).count(), 1, "{name}: {glib:?}");
        }
        assert_eq!(bats.len(), 6, "{bats:?}");
        assert!(bats.contains(&"sanity/executables seem sane"), "{bats:?}");
    }
}
