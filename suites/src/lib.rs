//! The suites. One module a suite; each case is an async function over a rig and nothing else.
//! `custom` makes suites of folders with a `suite.toml`, whose cases are scripts.

mod bench;
mod boot;
mod bundles;
mod containers;
pub mod custom;
mod limits;
mod ota;
mod power_cut;

use hil_core::case::Suite;

/// Every suite there is, in the order in which they run.
pub const SUITES: &[Suite] =
    &[boot::SUITE, containers::SUITE, limits::SUITE, ota::SUITE, power_cut::SUITE];

#[cfg(test)]
mod tests {
    use super::SUITES;
    use std::collections::BTreeSet;
    use std::path::Path;

    use hil_core::case::Need;
    use hil_core::image::Image;

    #[test]
    fn names_are_unique_and_fit_a_command_line() {
        let mut seen = BTreeSet::new();
        for suite in SUITES {
            for case in suite.cases {
                let id = format!("{}/{}", suite.name, case.name);
                let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                assert!(case.name.chars().all(kebab), "{id}");
                assert!(case.about.ends_with('.'), "{id}: say in a sentence what is promised");
                assert!(seen.insert(id.clone()), "{id} is there twice");
            }
        }
    }

    #[test]
    fn the_examples_manifest_lets_every_case_run() {
        let text = include_str!("../../fixtures/examples/yocto-rauc/image.toml");
        let image = Image::parse(text, Path::new("image.toml")).unwrap();
        let mut offers = image.offers();
        // These are the board's.
        offers.extend([Need::Network, Need::PowerCut, Need::Emulated]);
        for suite in SUITES {
            for case in suite.cases {
                let lacks: Vec<_> = case.needs.iter().filter(|n| !offers.contains(n)).collect();
                assert!(lacks.is_empty(), "{}/{} lacks {lacks:?}", suite.name, case.name);
            }
        }
    }
}
