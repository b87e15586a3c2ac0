//! What was measured of a board's power: the file it stands in, and the statistics behind it. How
//! the samples come about is `hil lab calibrate`'s business; here is no I/O but that file's.
//!
//! From the off command to silence on the serial line a relay's latency and the board's hold-up
//! pass one after the other, and silence alone cannot tell them apart: [`dips`] can.

pub mod dips;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use hil_core::located::from_toml;
use hil_core::parts::OffDelay;
use serde::{Deserialize, Serialize};

use crate::error::DriverError;
use crate::places::Places;

/// A span that was measured several times. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with `ms`, `jitter_ms` and `error_ms`")]
pub struct Figure {
    /// The median.
    pub ms: f64,
    /// Half of the way from the shortest to the longest: what the span itself varies by.
    pub jitter_ms: f64,
    /// By how much the median may be off: what the measuring resolves, and 2.5 standard errors
    /// for what so few samples leave open (a median's is 1.25 of a mean's; this is twice that).
    pub error_ms: f64,
    /// How many samples were left out for being far from all others: a host that was stopped for a
    /// moment, say. Not hidden, because a switch may be as erratic.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub set_aside: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Within eight median deviations of the median: 5.4 standard deviations where samples are normal,
/// four times the half range where they are even; few samples may make it half of that.
fn near(samples: &[f64], resolution: f64) -> Option<Vec<f64>> {
    let middle = median(samples)?;
    let deviations: Vec<f64> = samples.iter().map(|sample| (sample - middle).abs()).collect();
    let reach = 8.0 * median(&deviations)? + resolution;
    Some(samples.iter().copied().filter(|sample| (sample - middle).abs() <= reach).collect())
}

impl Figure {
    /// `resolution`: how far a single sample may be off. `None` without a sample.
    pub fn of(all: &[f64], resolution: f64) -> Option<Figure> {
        let samples = near(all, resolution)?;
        let ms = median(&samples)?;
        let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let count = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / count;
        let square = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>();
        let deviation = (square / (count - 1.0).max(1.0)).sqrt();
        Some(Figure {
            ms,
            jitter_ms: (most - least) / 2.0,
            error_ms: resolution + 2.5 * deviation / count.sqrt(),
            set_aside: u32::try_from(all.len() - samples.len()).unwrap_or(u32::MAX),
        })
    }

    /// How far a single one may be from the median, as far as is known.
    pub fn within_ms(&self) -> f64 {
        self.jitter_ms + self.error_ms
    }

    /// To a hundredth: more digits would claim what nobody measured.
    fn rounded(self) -> Figure {
        let to = |ms: f64| (ms * 100.0).round() / 100.0;
        let Figure { ms, jitter_ms, error_ms, set_aside } = self;
        Figure { ms: to(ms), jitter_ms: to(jitter_ms), error_ms: to(error_ms), set_aside }
    }
}

/// `68.1 ms, jitter ± 5.2 ms, error ± 2.4 ms`
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure { ms, jitter_ms, error_ms, set_aside } = self;
        write!(f, "{ms:.1} ms, jitter ± {jitter_ms:.1} ms, error ± {error_ms:.1} ms")?;
        if *set_aside > 0 {
            write!(f, " (far off and set aside: {set_aside})")?;
        }
        Ok(())
    }
}

/// The middle sample, or the middle of the two there.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = sorted.len().checked_sub(1)?;
    Some((sorted.get(at / 2)? + sorted.get(at.div_ceil(2))?) / 2.0)
}

/// The sample that a share of all are not above.
pub fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

/// What a board printed while its power was taken away: the denser, the better its last byte tells
/// when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Talk {
    /// A loop in its shell, which keeps the line busy.
    Shell,
    /// Its own boot, with the gaps that this has.
    Boot,
}

/// One instance's power, as measured. `<instance>.calibration` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    pub instance: String,
    /// The switch it was measured with: another one's figures are of no use.
    pub power: String,
    /// RFC 3339, UTC.
    pub date: String,
    pub cycles: u32,
    pub talk: Talk,
    /// From the off command to the board's last byte.
    pub off_delay: Figure,
    /// From the off command's end on its wire to the contact. Told apart from `hold_up` under the
    /// assumption that the contact opens as fast as it closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Figure>,
    /// From the contact to the board's last byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_up: Option<Figure>,
}

impl Calibration {
    /// The instance's, if there is one. One that was made with another switch counts as none.
    pub fn read(
        places: &Places,
        instance: &str,
        power: &str,
    ) -> Result<Option<Calibration>, DriverError> {
        let path = path(places, instance);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(DriverError::new(format!("read {}: {why}", path.display()))),
        };
        let found: Calibration = from_toml(&text, &path).map_err(|why| {
            DriverError::new(format!("read a calibration; make a new one: {why}"))
        })?;
        Ok(Some(found).filter(|found| found.power == power))
    }

    /// Replaces the instance's file.
    pub fn write(&self, places: &Places) -> Result<PathBuf, DriverError> {
        let path = path(places, &self.instance);
        let failed = |why: String| DriverError::new(format!("write {}: {why}", path.display()));
        let rounded = Calibration {
            off_delay: self.off_delay.rounded(),
            latency: self.latency.map(Figure::rounded),
            hold_up: self.hold_up.map(Figure::rounded),
            ..self.clone()
        };
        let text = toml::to_string(&rounded).map_err(|why| failed(why.to_string()))?;
        // Beside it, then over it: nobody reads half a file.
        let beside = path.with_extension(format!("calibration.{}", std::process::id()));
        fs::write(&beside, text).map_err(|why| failed(why.to_string()))?;
        fs::rename(&beside, &path).map_err(|why| failed(why.to_string()))?;
        Ok(path)
    }

    /// For cuts.
    pub fn off_delay(&self) -> OffDelay {
        let span = |ms: f64| std::time::Duration::from_secs_f64(ms.max(0.0) / 1000.0);
        OffDelay { delay: span(self.off_delay.ms), within: span(self.off_delay.within_ms()) }
    }
}

/// `off after 68 ± 6 ms (calibrated 2026-11-24, 10 cycles)`, the ± holding jitter and error.
impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, within) = (self.off_delay.ms, self.off_delay.within_ms());
        let date = self.date.split('T').next().unwrap_or_default();
        write!(f, "off after {ms:.0} ± {within:.0} ms (calibrated {date}, {} cycles", self.cycles)?;
        if self.talk == Talk::Boot {
            write!(f, " by its boot's output")?;
        }
        write!(f, ")")
    }
}

fn path(places: &Places, instance: &str) -> PathBuf {
    Path::new(&places.state).join(format!("{instance}.calibration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_tells_variation_from_error() {
        let figure = Figure::of(&[60.0, 64.0, 62.0, 66.0, 68.0], 1.0).unwrap();
        assert_eq!((figure.ms, figure.jitter_ms), (64.0, 4.0));
        // 1 + 2.5 * sqrt(10) / sqrt(5)
        assert!((figure.error_ms - 4.5355).abs() < 1e-3, "{figure}");
        let lone = Figure::of(&[60.0], 1.0).unwrap();
        assert_eq!((lone.jitter_ms, lone.error_ms), (0.0, 1.0));
        assert_eq!(Figure::of(&[], 1.0), None);
        let stalled = Figure::of(&[60.0, 64.0, 62.0, 250.0, 66.0, 68.0], 1.0).unwrap();
        assert_eq!((stalled.ms, stalled.jitter_ms, stalled.set_aside), (64.0, 4.0, 1));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(quantile(&[5.0, 1.0, 2.0, 3.0, 4.0], 0.5), Some(3.0));
    }

    fn calibration() -> Calibration {
        Calibration {
            instance: "bbb-1".into(),
            power: "relay 1".into(),
            date: "2026-11-24T02:00:00Z".into(),
            cycles: 10,
            talk: Talk::Shell,
            off_delay: Figure { ms: 68.123_456, jitter_ms: 4.0, error_ms: 2.0, set_aside: 0 },
            latency: None,
            hold_up: None,
        }
    }

    #[test]
    fn a_calibration_reads_back_and_belongs_to_its_switch() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path()).unwrap();
        let read = |power| Calibration::read(&places, "bbb-1", power);
        assert_eq!(read("relay 1").unwrap(), None);
        let path = calibration().write(&places).unwrap();
        let back = read("relay 1").unwrap().unwrap();
        assert_eq!(back.off_delay.ms, 68.12);
        assert_eq!(back.to_string(), "off after 68 ± 6 ms (calibrated 2026-11-24, 10 cycles)");
        assert_eq!(read("relay 2").unwrap(), None);
        fs::write(path, "cycles = true").unwrap();
        let error = read("relay 1").unwrap_err().to_string();
        assert!(error.contains("bbb-1.calibration:1:10"), "{error}");
    }
}
