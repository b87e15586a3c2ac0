//! The README's examples are lab files that are read.

use std::collections::BTreeMap;

use hil_lab::power::{PowerSpec, open};
use serde::Deserialize;

#[derive(Deserialize)]
struct Examples {
    instance: BTreeMap<String, Instance>,
}

#[derive(Deserialize)]
struct Instance {
    power: PowerSpec,
}

#[test]
fn every_kind_has_an_example_that_is_right() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("\n## Power\n").unwrap();
    let (_, block) = section.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```\n").unwrap();
    let examples: Examples = toml::from_str(block).unwrap_or_else(|error| panic!("{error}"));
    let mut kinds = BTreeMap::new();
    for (name, instance) in &examples.instance {
        let written = serde_json::to_value(&instance.power).unwrap();
        let kind = written.as_object().unwrap().keys().next().unwrap().clone();
        // The keeper is handed its devices in writing: nothing of them may get lost.
        let read: PowerSpec = serde_json::from_value(written).unwrap();
        assert_eq!(read, instance.power, "{name}");
        let shown = format!("{:?} {}", instance.power, open(&instance.power).label());
        assert!(!shown.contains("this-one"), "a password is shown: {shown}");
        kinds.insert(kind, open(&instance.power).label());
    }
    let schema = schemars::schema_for!(PowerSpec);
    let known = schema.get("oneOf").and_then(|kinds| kinds.as_array()).unwrap();
    assert_eq!(kinds.len(), known.len(), "kinds without an example: {kinds:?}");
    assert_eq!(
        kinds["lcus"],
        "LCUS relay 1 on /dev/serial/by-path/pci-0000:00:14.0-usb-0:3:1.0-port0"
    );
}
