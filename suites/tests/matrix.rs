//! The files of `fixtures/broken`: each case there is has a broken image that it must notice, and each
//! file speaks of cases there are. That they do notice is shown by `hil-cli`'s test of the same name.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hil_core::prelude::*;
use hil_suites::SUITES;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    about: String,
    variant: String,
    kills: BTreeSet<String>,
    #[serde(default)]
    spares: BTreeSet<String>,
    /// Of the run, where it matters when the power is cut.
    #[serde(default, rename = "seed")]
    _seed: Option<u64>,
    #[serde(default)]
    replace: Vec<[String; 2]>,
    #[serde(default)]
    inject: Vec<Inject>,
}

#[derive(Deserialize)]
struct Inject {
    file: Option<PathBuf>,
}

fn broken() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/broken")
}

fn variants() -> Vec<(String, Variant)> {
    let files = fs::read_dir(broken()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|is| is == "toml"));
    files
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let name = file.file_stem().unwrap().to_str().unwrap().to_string();
            let variant = toml::from_str(&text);
            (name, variant.unwrap_or_else(|why| panic!("{}: {why}", file.display())))
        })
        .collect()
}

#[test]
fn each_case_has_a_broken_image_that_it_must_notice() {
    let named = |(suite, case)| format!("{suite}/{case}");
    let all: BTreeSet<String> = SUITES
        .iter()
        .flat_map(|suite| suite.cases.iter().map(|case| (suite.name, case.name)))
        .map(named)
        .collect();
    let killed: BTreeSet<String> =
        variants().into_iter().flat_map(|(_, variant)| variant.kills).collect();
    let never: Vec<&String> = all.difference(&killed).collect();
    assert!(never.is_empty(), "no image of fixtures/broken makes these fail: {never:?}");
    for (name, variant) in variants() {
        let named = variant.kills.union(&variant.spares).cloned().collect::<BTreeSet<_>>();
        let unknown: Vec<&String> = named.difference(&all).collect();
        assert!(unknown.is_empty(), "{name} names cases there are not: {unknown:?}");
        let both: Vec<&String> = variant.kills.intersection(&variant.spares).collect();
        assert!(both.is_empty(), "{name} kills and spares {both:?}");
    }
}

/// A case that the image has no means for is skipped, and a matrix of an hour ends without a verdict.
#[test]
fn no_broken_image_names_a_case_that_it_must_skip() {
    for (name, variant) in variants() {
        let missing = if variant.variant == "mini" { Need::Engine } else { Need::Update };
        for suite in SUITES {
            for case in suite.cases.iter().filter(|case| case.needs.contains(&missing)) {
                let named = format!("{}/{}", suite.name, case.name);
                let names = variant.kills.contains(&named) || variant.spares.contains(&named);
                assert!(!names, "{name}: {named} is skipped on demo-os {}", variant.variant);
            }
        }
    }
}

#[test]
fn each_broken_image_is_broken_by_something_that_is_there() {
    for (name, variant) in variants() {
        assert!(variant.about.ends_with('.'), "{name}: say in a sentence what is wrong with it");
        assert!(["mini", "full"].contains(&variant.variant.as_str()), "{name}");
        let changes = variant.replace.len() + variant.inject.len();
        assert!(changes > 0 && !variant.kills.is_empty(), "{name} changes nothing");
        for file in variant.inject.into_iter().filter_map(|inject| inject.file) {
            assert!(broken().join(&file).is_file(), "{name}: no {}", file.display());
        }
    }
}
