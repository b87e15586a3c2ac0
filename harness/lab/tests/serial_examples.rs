//! The README's examples of consoles are lab files that are read.

use std::collections::BTreeMap;

use hil_lab::serial::ConsoleSpec;
use serde::Deserialize;

#[derive(Deserialize)]
struct Examples {
    instance: BTreeMap<String, Instance>,
}

#[derive(Deserialize)]
struct Instance {
    console: ConsoleSpec,
}

#[test]
fn every_kind_has_an_example_that_is_right() {
    let readme = include_str!("../README.md");
    let (_, section) = readme.split_once("\n## Console\n").unwrap();
    let (_, block) = section.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```\n").unwrap();
    let examples: Examples = toml::from_str(block).unwrap_or_else(|error| panic!("{error}"));
    let labels: Vec<String> =
        examples.instance.values().map(|instance| instance.console.label(115_200)).collect();
    assert_eq!(
        labels,
        [
            "/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0 at 1500000",
            "tcp rack-server:3001",
            "telnet rack-server:3002",
            "rfc2217 rack-server:3003 at 115200",
        ]
    );
    let schema = schemars::schema_for!(ConsoleSpec);
    let known = schema.get("oneOf").and_then(|kinds| kinds.as_array()).unwrap();
    assert_eq!(known.len(), labels.len(), "a kind without an example");
}
