//! Globs over the names of cases, and what they ask of subtests, whose names only the run tells.

use globset::{Glob, GlobBuilder};
use serde::{Deserialize, Serialize};

/// What the command line asks of subtests; it is kept with the plan, as the reports need it, too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Globs over `suite/case/subtest`: a skip of what matches is a failure.
    pub required: Vec<String>,
    /// Globs over `board/suite/case/subtest`, and why what matches is expected to fail.
    pub expected: Vec<(String, String)>,
}

impl Rules {
    pub fn requires(&self, id: &str) -> bool {
        self.required.iter().any(|pattern| matches(pattern, id))
    }

    pub fn expects(&self, full: &str) -> Option<&str> {
        let found = self.expected.iter().find(|(pattern, _)| matches(pattern, full));
        found.map(|(_, why)| why.as_str())
    }
}

/// The one meaning that a glob over names has: `*` also spans the slash.
pub fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(false).build()
}

/// A pattern that is none matches nothing; the command line has refused it before.
pub fn matches(pattern: &str, name: &str) -> bool {
    glob(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(name))
}

/// The glob over the case that a glob over its subtests speaks of: its first `depth` names.
pub fn of_case(pattern: &str, depth: usize) -> Option<String> {
    let names: Vec<&str> = pattern.split('/').collect();
    (names.len() > depth).then(|| names[..depth].join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_a_case_holds_for_its_subtests() {
        let expected = vec![("qemu-*/mine/net*".to_string(), "bug 3".to_string())];
        let rules = Rules { required: vec!["mine/*".into()], expected };
        assert!(rules.requires("mine/net/dns resolves") && !rules.requires("boot/ready"));
        assert_eq!(rules.expects("qemu-arm/mine/net/dns"), Some("bug 3"));
        assert_eq!(rules.expects("beaglebone/mine/net/dns"), None);
        assert_eq!(of_case("mine/net/dns*", 2).as_deref(), Some("mine/net"));
        assert_eq!(of_case("mine/net", 2), None);
    }
}
