//! `hil lab status`: every board of the lab at one look. It takes none of them and changes nothing.

use std::fmt::Write as _;
use std::time::Duration;

use hil_core::verdict::exit;
use hil_lab::calibrate::Calibration;
use hil_lab::lock::Holder;
use hil_lab::power::PATIENCE;
use hil_lab::quarantine::{self, Quarantine};
use hil_lab::serial::ConsoleSpec;
use hil_lab::{Instance, Places, Wired, Worker};
use serde::Serialize;
use tokio::task::JoinSet;

use super::args::StatusArgs;
use super::command::Bench;
use super::holder;
use crate::failure::Failure;
use crate::show::put;

/// A driver gives up sooner by itself; this is for one that cannot.
const ASK: Duration = Duration::from_secs(PATIENCE.as_secs() + 2);

/// One line of the table, and one object of the JSON.
#[derive(Debug, Serialize)]
struct Seen {
    name: String,
    #[serde(rename = "type")]
    board: String,
    holder: Option<Holder>,
    quarantine: Option<Quarantine>,
    /// Absent where the switch cannot tell, or did not: `trouble` says why.
    power: Option<bool>,
    switch: String,
    console: &'static str,
    /// What `hil lab calibrate` measured with this switch, in words.
    calibration: Option<String>,
    /// What keeps a part of it from working, as far as a look tells.
    trouble: Vec<String>,
}

pub(super) async fn status(bench: &Bench, args: &StatusArgs) -> Result<u8, Failure> {
    let mut looking = JoinSet::new();
    for instance in bench.instances(&[])? {
        let name = &instance.name;
        let seen = Seen {
            name: name.clone(),
            board: instance.board.clone(),
            holder: holder(&bench.places, name),
            quarantine: quarantine::read(&bench.places, name),
            power: None,
            switch: String::new(),
            console: "",
            calibration: None,
            trouble: Vec::new(),
        };
        looking.spawn(look(instance, bench.places.clone(), seen));
    }
    let mut all: Vec<Seen> = looking.join_all().await;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    match args.json {
        true => put(&(serde_json::to_string_pretty(&all).unwrap_or_default() + "\n")),
        false => put(&table(bench, &all)),
    }
    Ok(exit::OK)
}

/// Asks what stands there.
async fn look(instance: Instance, places: Places, mut seen: Seen) -> Seen {
    let findings = instance.console.doctor_findings();
    seen.console = match (&instance.console, findings.is_empty()) {
        (ConsoleSpec::Tty(_), true) => "there",
        (ConsoleSpec::Tty(tty), false) if tty.port.exists() => "denied",
        (ConsoleSpec::Tty(_), false) => "absent",
        // Servers of serial ports may serve one at a time: no connection is made to look.
        _ => "network",
    };
    seen.trouble.extend(findings.iter().map(ToString::to_string));
    let wired = Wired::new(&instance);
    seen.switch = wired.label();
    match Calibration::read(&places, &instance.name, &seen.switch) {
        Ok(found) => seen.calibration = found.map(|found| found.to_string()),
        Err(error) => seen.trouble.push(format!("failed to {error}")),
    }
    let asked = match Worker::start(seen.switch.clone(), wired) {
        Ok(switch) => switch.call(ASK, Wired::state).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(power) => seen.power = power,
        Err(error) => seen.trouble.push(format!("failed to {error}")),
    }
    seen
}

fn table(bench: &Bench, all: &[Seen]) -> String {
    if all.is_empty() {
        return format!("no board stands in {}\n", bench.lab.file.display());
    }
    let width = |of: fn(&Seen) -> &str, least: usize| {
        all.iter().map(|seen| of(seen).len()).max().unwrap_or(0).max(least)
    };
    let (name, board) = (width(|s| &s.name, 8), width(|s| &s.board, 4));
    let mut text = format!("{:name$}  {:board$}  power  console  state\n", "instance", "type");
    for seen in all {
        let power = match seen.power {
            Some(true) => "on",
            Some(false) => "off",
            None => "?",
        };
        let (own, kind, console) = (&seen.name, &seen.board, seen.console);
        let _ =
            writeln!(text, "{own:name$}  {kind:board$}  {power:5}  {console:7}  {}", state(seen));
    }
    for seen in all {
        for trouble in &seen.trouble {
            let _ = writeln!(text, "{}: {trouble}", seen.name);
        }
        if let Some(calibration) = &seen.calibration {
            let _ = writeln!(text, "{}: {calibration}", seen.name);
        }
    }
    text
}

fn state(seen: &Seen) -> String {
    let held = match &seen.holder {
        Some(holder) => format!("held by {holder}"),
        None => "free".into(),
    };
    match &seen.quarantine {
        Some(why) => format!("{held}; in quarantine: {why}"),
        None => held,
    }
}
