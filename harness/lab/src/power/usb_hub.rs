//! Per-port power of USB hubs, by the kernel's own switch (Linux 6.0 and later):
//! `/sys/bus/usb/devices/HUB:1.0/HUB-portN/disable`. The kernel then keeps the port off by itself,
//! which a request sent past it (libusb, uhubctl) does not achieve.
//!
//! Only hubs with per-port power switching really take the voltage away; sysfs does not tell
//! which do. `hil lab check` does: the console must fall silent.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hil_core::deadline::Deadline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lane::Lane;
use super::{PATIENCE, Switch, failure};
use crate::error::DriverError;

/// `[power.usb-hub]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsbHub {
    /// The hub's USB path: `1-1.4`; `usb1` for a controller's own ports.
    pub hub: String,
    /// From 1.
    #[schemars(range(min = 1))]
    pub port: u8,
}

/// One port of a hub that is plugged in.
pub struct HubPort {
    config: UsbHub,
    devices: PathBuf,
    lane: Lane,
}

impl HubPort {
    /// `root` is `/`, or a folder that a test has filled.
    pub fn at(config: UsbHub, root: &Path) -> HubPort {
        HubPort { config, devices: root.join("sys/bus/usb/devices"), lane: Lane::default() }
    }

    /// The port's folder, and that of the same socket's other half: a USB 3 socket belongs to two
    /// hubs, and has power until both have switched it off.
    fn halves(&self) -> Result<Vec<PathBuf>, String> {
        let UsbHub { hub, port } = &self.config;
        let interface = match hub.strip_prefix("usb") {
            Some(bus) => format!("{bus}-0:1.0"),
            None => format!("{hub}:1.0"),
        };
        let folder = self.devices.join(&interface);
        if !folder.is_dir() {
            return Err(format!("no hub `{hub}` is plugged in; {}", self.hubs()));
        }
        let half = folder.join(format!("{hub}-port{port}"));
        if !half.is_dir() {
            return Err(format!("hub `{hub}` has no port {port}; it has {}", ports(&folder)));
        }
        let peer = half.join("peer");
        Ok(if peer.is_dir() { vec![half, peer] } else { vec![half] })
    }

    fn hubs(&self) -> String {
        let entries = fs::read_dir(&self.devices).into_iter().flatten().flatten();
        let mut found: Vec<String> = entries
            .filter(|entry| ports(&entry.path()) != NO_PORT)
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let hub = name.strip_suffix(":1.0")?;
                Some(match hub.strip_suffix("-0") {
                    Some(bus) => format!("usb{bus}"),
                    None => hub.to_string(),
                })
            })
            .collect();
        found.sort();
        if found.is_empty() {
            "there is none (see `lsusb -t`)".into()
        } else {
            format!("there is {}", found.join(", "))
        }
    }

    fn write(&mut self, on: bool) -> Result<(), String> {
        let deadline = Deadline::within(PATIENCE);
        for half in self.halves()? {
            let file = half.join("disable");
            let value = if on { "0" } else { "1" };
            let what = format!("the write to {}", file.display());
            self.lane.run(&deadline, &what, move || {
                if !file.exists() {
                    return Err(meaning(&file, &ErrorKind::NotFound.into()));
                }
                fs::write(&file, value).map_err(|error| meaning(&file, &error))
            })?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Option<bool>, String> {
        let deadline = Deadline::within(PATIENCE);
        let mut powered = false;
        for half in self.halves()? {
            let file = half.join("disable");
            let what = format!("the read of {}", file.display());
            powered |= self.lane.run(&deadline, &what, move || {
                let text = fs::read_to_string(&file).map_err(|error| meaning(&file, &error))?;
                match text.trim() {
                    "0" => Ok(true),
                    "1" => Ok(false),
                    _ => Err(format!("{} says {}", file.display(), failure::quote(&text))),
                }
            })?;
        }
        Ok(Some(powered))
    }
}

const NO_PORT: &str = "none";

/// The port numbers of a hub's interface.
fn ports(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<u16> = entries
        .filter_map(|entry| {
            entry.file_name().to_string_lossy().rsplit_once("-port")?.1.parse().ok()
        })
        .collect();
    found.sort_unstable();
    if found.is_empty() {
        return NO_PORT.into();
    }
    found.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn meaning(file: &Path, error: &std::io::Error) -> String {
    let shown = file.display();
    match error.kind() {
        ErrorKind::NotFound => {
            format!("there is no {shown}: this needs Linux 6.0 or later")
        }
        ErrorKind::PermissionDenied => format!(
            "no permission for {shown}: install hil's udev rules (harness/lab/udev) and join the \
             group plugdev"
        ),
        _ => format!("{shown}: {error} (was the hub unplugged?)"),
    }
}

impl Switch for HubPort {
    fn label(&self) -> String {
        format!("port {} of USB hub {}", self.config.port, self.config.hub)
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        let written = self.write(on);
        failure::set(&self.label(), on, written)
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        let read = self.read();
        failure::get(&self.label(), read)
    }
}
