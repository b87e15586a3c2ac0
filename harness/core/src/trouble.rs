//! What can go wrong while a case runs, and whose fault it is.
//!
//! Drivers say what they know: `Rack` where the rack is surely at fault, `Product` where the
//! product surely is, `Unmet` where something awaited did not come and the blame is open, and
//! `Transport` where one channel to the board failed and another must be asked before judging.

use std::fmt;

use crate::verdict::Verdict;

/// Trouble with a rig. `?` carries it out of a case; the runner turns it into a verdict.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Trouble {
    /// A driver, the emulator, the host or hil itself failed: the verdict is Broken.
    #[error("{0}")]
    Rack(String),
    /// The product misbehaved: the verdict is Fail.
    #[error("{0}")]
    Product(String),
    /// Something awaited did not come before its deadline.
    #[error("{0}")]
    Unmet(String),
    /// A channel to the board (SSH, say) failed; judged over the other channel.
    #[error("{0}")]
    Transport(String),
    /// The case cannot be run here after all.
    #[error("{0}")]
    Skip(String),
}

impl Trouble {
    pub fn rack(what: impl fmt::Display) -> Trouble {
        Trouble::Rack(what.to_string())
    }

    pub fn product(what: impl fmt::Display) -> Trouble {
        Trouble::Product(what.to_string())
    }

    pub fn unmet(what: impl fmt::Display) -> Trouble {
        Trouble::Unmet(what.to_string())
    }

    pub fn transport(what: impl fmt::Display) -> Trouble {
        Trouble::Transport(what.to_string())
    }

    /// The same trouble with what was being attempted put before it.
    #[must_use]
    pub fn while_doing(self, doing: impl fmt::Display) -> Trouble {
        let add = |what: String| format!("{doing}: {what}");
        match self {
            Trouble::Rack(what) => Trouble::Rack(add(what)),
            Trouble::Product(what) => Trouble::Product(add(what)),
            Trouble::Unmet(what) => Trouble::Unmet(add(what)),
            Trouble::Transport(what) => Trouble::Transport(add(what)),
            Trouble::Skip(what) => Trouble::Skip(add(what)),
        }
    }

    /// The verdict where no further evidence is to be had.
    ///
    /// `Unmet` on a live emulator is the product's silence (DESIGN, "Silence"); callers that know
    /// of a dead emulator or a mute UART must have turned it into `Rack` before.
    pub fn verdict(&self) -> Verdict {
        match self {
            Trouble::Product(_) | Trouble::Unmet(_) => Verdict::Fail,
            Trouble::Rack(_) | Trouble::Transport(_) => Verdict::Broken,
            Trouble::Skip(_) => Verdict::Skip,
        }
    }
}

/// How a case's body ends.
pub type Outcome<T = ()> = Result<T, Trouble>;

/// Says that what failed is the product's promise: an unmet wait becomes a Fail with this context.
/// A broken rack stays broken, whatever the case had hoped for.
pub trait OrFail<T> {
    fn or_fail(self, context: impl fmt::Display) -> Outcome<T>;
}

impl<T> OrFail<T> for Outcome<T> {
    fn or_fail(self, context: impl fmt::Display) -> Outcome<T> {
        self.map_err(|trouble| match trouble {
            Trouble::Unmet(what) | Trouble::Product(what) => {
                Trouble::Product(format!("{context}: {what}"))
            }
            other => other.while_doing(context),
        })
    }
}

impl<T> OrFail<T> for Option<T> {
    fn or_fail(self, context: impl fmt::Display) -> Outcome<T> {
        self.ok_or_else(|| Trouble::product(context))
    }
}

/// Asserts something about the product: `check!(cond, "format", …)`; otherwise the case fails.
#[macro_export]
macro_rules! check {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return ::std::result::Result::Err($crate::trouble::Trouble::Product(format!($($why)+)));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn or_fail_never_blames_the_product_for_a_broken_rack() {
        let rack: Outcome = Err(Trouble::rack("qemu died"));
        assert_eq!(rack.or_fail("no boot").unwrap_err().verdict(), Verdict::Broken);
        let line: Outcome = Err(Trouble::transport("ssh: reset"));
        assert_eq!(line.or_fail("no boot").unwrap_err().verdict(), Verdict::Broken);
        let silent: Outcome = Err(Trouble::unmet("no prompt"));
        let told = silent.or_fail("no boot").unwrap_err();
        assert_eq!(told, Trouble::Product("no boot: no prompt".into()));
    }

    #[test]
    fn check_fails_with_its_reason() {
        fn body(x: u32) -> Outcome {
            check!(x == 4, "x is {x}, not 4");
            Ok(())
        }
        assert_eq!(body(4), Ok(()));
        assert_eq!(body(5), Err(Trouble::product("x is 5, not 4")));
    }
}
