//! What each mux's own tool is asked, and how its answer reads.

use hil_core::deadline::Deadline;

use super::{Mux, MuxSpec, PATIENCE, Side};
use crate::error::DriverError;
use crate::storage::tool::{Env, Errand, find};

/// A mux that a program of the host works.
pub(super) struct ByTool {
    spec: MuxSpec,
    env: Vec<(String, String)>,
}

impl ByTool {
    pub(super) fn new(spec: MuxSpec, env: Vec<(String, String)>) -> ByTool {
        ByTool { spec, env }
    }

    fn run(&self, argv: &[String]) -> Result<String, DriverError> {
        let env: &Env = &self.env;
        let missing = argv.first().filter(|program| find(program, env).is_none());
        if let (Some(program), Some(help)) = (missing, self.where_from()) {
            let label = self.label();
            return Err(DriverError::new(format!(
                "work {label}: `{program}` is not installed: {help}"
            )));
        }
        let deadline = Deadline::within(PATIENCE);
        let errand = Errand { argv, env, deadline, cancel: None, line: &|_| () };
        let ended = errand.run().and_then(|ended| ended.ok(argv));
        let ended = ended.map_err(|why| DriverError::new(format!("work {}: {why}", self.label())));
        Ok(ended?.stdout)
    }

    fn where_from(&self) -> Option<&'static str> {
        match self.spec {
            MuxSpec::Usbsdmux(_) => Some("package `usbsdmux`, or pip's"),
            MuxSpec::Sdwire(_) => Some("build it from Tizen's git, tools/testlab/sd-mux"),
            MuxSpec::Command(_) => None,
        }
    }

    /// The command line that switches to `side`, if this mux has that side.
    fn switching(&self, side: Side) -> Option<Vec<String>> {
        let to = |host: &str, dut: &str| match side {
            Side::Host => Some(host.to_string()),
            Side::Dut => Some(dut.to_string()),
            Side::Off => None,
        };
        match (&self.spec, side) {
            (MuxSpec::Usbsdmux(_), Side::Off) => Some(self.asking("off")),
            (MuxSpec::Usbsdmux(_), _) => Some(self.asking(&to("host", "dut")?)),
            // "ts" is the test server: the host.
            (MuxSpec::Sdwire(_), _) => Some(self.asking(&to("--ts", "--dut")?)),
            (MuxSpec::Command(mux), Side::Host) => Some(mux.host.clone()),
            (MuxSpec::Command(mux), Side::Dut) => Some(mux.dut.clone()),
            (MuxSpec::Command(_), Side::Off) => None,
        }
    }

    fn asking(&self, verb: &str) -> Vec<String> {
        match &self.spec {
            MuxSpec::Usbsdmux(mux) => {
                let tool = mux.tool.as_ref().map(|tool| tool.to_string_lossy().into_owned());
                let tool = tool.unwrap_or_else(|| "usbsdmux".into());
                vec![tool, mux.control.to_string_lossy().into_owned(), verb.into()]
            }
            MuxSpec::Sdwire(mux) => {
                let serial = format!("--device-serial={}", mux.serial);
                vec!["sd-mux-ctrl".into(), serial, verb.into()]
            }
            MuxSpec::Command(mux) => mux.get.clone().unwrap_or_default(),
        }
    }
}

impl Mux for ByTool {
    fn label(&self) -> String {
        match &self.spec {
            MuxSpec::Usbsdmux(mux) => format!("USB-SD-Mux {}", mux.control.display()),
            MuxSpec::Sdwire(mux) => format!("SDWire {}", mux.serial),
            MuxSpec::Command(mux) => {
                format!("the mux of `{}`", mux.host.first().map_or("", String::as_str))
            }
        }
    }

    fn switch(&mut self, side: Side) -> Result<(), DriverError> {
        let Some(argv) = self.switching(side) else {
            let label = self.label();
            return Err(DriverError::new(format!("switch {label} to {side}: it cannot do that")));
        };
        self.run(&argv).map(drop)
    }

    fn get(&mut self) -> Result<Option<Side>, DriverError> {
        let argv = match &self.spec {
            MuxSpec::Usbsdmux(_) => self.asking("get"),
            MuxSpec::Sdwire(_) => self.asking("--status"),
            MuxSpec::Command(mux) if mux.get.is_none() => return Ok(None),
            MuxSpec::Command(_) => self.asking(""),
        };
        let said = self.run(&argv)?;
        let side = match &self.spec {
            MuxSpec::Sdwire(_) => of_sdwire(&said),
            MuxSpec::Usbsdmux(_) | MuxSpec::Command(_) => of_word(&said),
        };
        let unclear = || {
            let said = said.trim();
            let argv = argv.join(" ");
            let label = self.label();
            DriverError::new(format!("ask {label} for its side: `{argv}` printed `{said}`"))
        };
        side.map(Some).ok_or_else(unclear)
    }

    fn has_off(&self) -> bool {
        self.switching(Side::Off).is_some()
    }
}

/// `usbsdmux … get` prints a word.
fn of_word(said: &str) -> Option<Side> {
    match said.trim() {
        "host" => Some(Side::Host),
        "dut" | "client" => Some(Side::Dut),
        "off" => Some(Side::Off),
        _ => None,
    }
}

/// `sd-mux-ctrl --status` prints `SD connected to: TS`, among other lines in some builds.
fn of_sdwire(said: &str) -> Option<Side> {
    said.lines().find_map(|line| match line.trim().strip_prefix("SD connected to: ")?.trim() {
        "TS" => Some(Side::Host),
        "DUT" => Some(Side::Dut),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_tools_are_read() {
        assert_eq!(of_word("host\n"), Some(Side::Host));
        assert_eq!(of_word("unknown"), None);
        assert_eq!(of_sdwire("SD connected to: TS\n"), Some(Side::Host));
        assert_eq!(of_sdwire("driver v2\nSD connected to: DUT\r\n"), Some(Side::Dut));
        assert_eq!(of_sdwire("Unable to open ftdi device: -3"), None);
    }
}
