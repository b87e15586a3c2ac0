//! A line of a GPIO chip, by the kernel's character device (uAPI v2, Linux 5.10 and later).
//!
//! The kernel promises a line's level only while somebody holds it. So the line stays requested
//! from the first command until the driver is dropped; after that it usually keeps its level, but
//! some chips fall back to an input. Wire a relay so that such a fall leaves the board safe.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use gpiocdev::Request;
use gpiocdev::chip::Chip;
use gpiocdev::line::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Switch, failure};
use crate::error::DriverError;

/// `[power.gpio]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gpio {
    /// `/dev/gpiochip0`, or a link to it that a udev rule keeps.
    pub chip: PathBuf,
    /// Offset of the line in its chip.
    pub line: u32,
}

/// A line, and our hold on it.
pub struct Line {
    config: Gpio,
    held: Option<Request>,
    /// Whether it is ours to drive, or was only looked at.
    driven: bool,
}

impl Line {
    pub fn new(config: Gpio) -> Line {
        Line { config, held: None, driven: false }
    }

    fn drive(&mut self, on: bool) -> Result<(), String> {
        let value = Value::from(on);
        let done = match &self.held {
            Some(request) if self.driven => request.set_lone_value(value),
            Some(request) => {
                let mut wanted = request.config();
                wanted.as_output(value);
                request.reconfigure(&wanted)
            }
            // The level goes with the request: the line never has another in between.
            None => {
                self.held = Some(self.request(|builder| {
                    builder.as_output(value);
                })?);
                Ok(())
            }
        };
        done.map_err(|error| self.meaning(&error))?;
        self.driven = true;
        Ok(())
    }

    fn level(&mut self) -> Result<bool, String> {
        let request = match self.held.take() {
            Some(request) => request,
            // As it is: asking must not turn an output into an input.
            None => self.request(|builder| {
                builder.as_is();
            })?,
        };
        let level = request.lone_value().map_err(|error| self.meaning(&error));
        self.held = Some(request);
        level.map(bool::from)
    }

    fn request(&self, how: impl Fn(&mut gpiocdev::request::Builder)) -> Result<Request, String> {
        let mut builder = Request::builder();
        builder.on_chip(&self.config.chip).with_line(self.config.line).with_consumer("hil");
        how(&mut builder);
        builder.request().map_err(|error| self.meaning(&error))
    }

    fn meaning(&self, error: &gpiocdev::Error) -> String {
        let chip = self.config.chip.display();
        match fs::File::open(&self.config.chip) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return format!("there is no {chip}; {}", present());
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return format!(
                    "no permission for {chip}: join its group (`ls -l {chip}`), or install \
                    hil's udev rules (harness/lab/udev)"
                );
            }
            _ => {}
        }
        let Ok(opened) = Chip::from_path(&self.config.chip) else {
            return format!("{chip} is no GPIO chip: {error}");
        };
        if let Ok(info) = opened.info()
            && self.config.line >= info.num_lines
        {
            return format!("{chip} has lines 0 to {} only", info.num_lines.saturating_sub(1));
        }
        match opened.line_info(self.config.line) {
            Ok(line) if line.used && self.held.is_none() => {
                format!("the line is held by `{}` ({error}): stop that", line.consumer)
            }
            _ => error.to_string(),
        }
    }
}

fn present() -> String {
    let found: Vec<String> = gpiocdev::chip::chips()
        .unwrap_or_default()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if found.is_empty() {
        "this host has no GPIO chip".into()
    } else {
        format!("there is {}", found.join(", "))
    }
}

impl Switch for Line {
    fn label(&self) -> String {
        format!("GPIO line {} of {}", self.config.line, self.config.chip.display())
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        let driven = self.drive(on);
        failure::set(&self.label(), on, driven)
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        let level = self.level().map(Some);
        failure::get(&self.label(), level)
    }
}
