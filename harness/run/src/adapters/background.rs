//! A command of the target that goes on in the background: over SSH and over a console, past the
//! end of the shell that started it. What it says goes to the console at once and into a log.

use std::time::Duration;

use hil_core::deadline::secs;
use hil_core::product::{Installed, Installing};
use hil_core::rig::Rig;
use hil_core::trouble::{OrFail, Outcome, Trouble};

/// For an install, on a fast host.
const INSTALL: Duration = secs(60);

/// Comes after whatever else a console shell had to show meanwhile.
const ENDED: &str = "hil: the install has ended with ";

/// Starts `command`. `/tmp` takes the log: it is there everywhere, and a reboot may empty it.
pub(super) async fn start(rig: &mut Rig, command: &str) -> Outcome<Installing> {
    let from = rig.console().position();
    let log = format!("/tmp/hil-install-{from}");
    // HUP: the console's login shell may end before the install does.
    let script = format!(
        "(trap '' HUP; {{ {{ {command}; }}; echo $? >{log}.status; }} 2>&1 | tee /dev/console >{log}; \
         mv {log}.status {log}.ended) </dev/null >/dev/null 2>&1 &"
    );
    rig.run(&script).await?;
    Ok(Installing { log, from })
}

/// Waits for the end of what was started.
pub(super) async fn wait(rig: &mut Rig, install: &Installing) -> Outcome<Installed> {
    let log = &install.log;
    // The target has nothing to wait for that every shell knows, so it looks at the file.
    let script = format!(
        "while [ ! -e {log}.ended ]; do sleep 1; done; echo; echo \"{ENDED}$(cat {log}.ended)\"; \
         tail -n 4 {log}"
    );
    let output = rig.run_in(&script, INSTALL).await.or_fail("the install did not end")?;
    ended(&output.text())
}

/// Reads what `wait` printed. On a console the install's own lines may stand before it.
fn ended(text: &str) -> Outcome<Installed> {
    let report = text.rsplit_once(ENDED).map(|(_, report)| report);
    let report = report.or_fail(format!("the install left no status: {text}"))?;
    let (status, said) = report.split_once('\n').unwrap_or((report, ""));
    if status.trim() == "0" {
        return Ok(Installed::Done);
    }
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = format!("{} (status {})", said.join(" / "), status.trim());
    // POSIX: 126 and 127 are commands that could not be run, above 128 they died of a signal.
    match status.trim().parse::<u32>() {
        Ok(126 | 127) => Err(Trouble::product(format!("the install could not be run: {said}"))),
        Ok(129..) => Err(Trouble::product(format!("the updater died: {said}"))),
        _ => Ok(Installed::Refused(said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_reason_and_console_noise_is_not() {
        let text = format!(" 40% Checking\n\n{ENDED}1\nLastError: signature\nInstalling failed\n");
        let reason = "LastError: signature / Installing failed (status 1)".to_string();
        assert_eq!(ended(&text), Ok(Installed::Refused(reason)));
        assert_eq!(ended(&format!("{ENDED}0\nInstalling succeeded")), Ok(Installed::Done));
        assert!(ended("nothing of the kind").is_err());
        for status in [126, 127, 139] {
            assert!(ended(&format!("{ENDED}{status}\n")).is_err(), "{status} is no refusal");
        }
    }
}
