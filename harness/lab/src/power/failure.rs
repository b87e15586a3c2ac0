//! How a driver's failure is told: what was attempted on which device, and why it did not go.
//! Drivers say only the why; the sentence is made here.

use crate::error::DriverError;

/// `on` or `off`.
pub(super) fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// Finishes "failed to …" for a switch that did not switch.
pub(super) fn set<T>(label: &str, on: bool, result: Result<T, String>) -> Result<T, DriverError> {
    result.map_err(|why| DriverError::new(format!("switch {label} {}: {why}", word(on))))
}

/// Finishes "failed to …" for a switch that did not tell its state.
pub(super) fn get<T>(label: &str, result: Result<T, String>) -> Result<T, DriverError> {
    result.map_err(|why| DriverError::new(format!("read the state of {label}: {why}")))
}

/// Bytes as people compare them with a data sheet: `A0 01 01 A2`. Long ones are cut.
pub(super) fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(32).map(|byte| format!("{byte:02X}")).collect();
    match bytes.len() {
        0 => "nothing".into(),
        1..=32 => shown.join(" "),
        more => format!("{} … ({more} bytes)", shown.join(" ")),
    }
}

/// Text that a device sent, on one line and not too much of it.
pub(super) fn quote(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    let clean = clean.trim();
    if clean.is_empty() { "an empty answer".into() } else { format!("`{clean}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_sent_fits_into_a_sentence() {
        assert_eq!(hex(&[]), "nothing");
        assert_eq!(hex(&[0xA0, 1, 1, 0xA2]), "A0 01 01 A2");
        assert!(hex(&[7; 40]).ends_with("07 … (40 bytes)"));
        assert_eq!(quote("no\r\nsuch \x1b[1mport\0 "), "`no  such  [1mport`");
        assert_eq!(quote(" \n"), "an empty answer");
        assert_eq!(quote(&"ä".repeat(300)).chars().count(), 202);
    }

    #[test]
    fn a_failure_names_the_device_and_what_was_wanted() {
        let error = set::<()>("relay 1", false, Err("no answer".into())).unwrap_err();
        assert_eq!(error.to_string(), "switch relay 1 off: no answer");
        let error = get::<bool>("relay 1", Err("no answer".into())).unwrap_err();
        assert_eq!(error.to_string(), "read the state of relay 1: no answer");
    }
}
