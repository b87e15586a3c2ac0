//! USB HID relays ("USBRelay1" to "USBRelay8", 16c0:05df), by feature reports over hidraw.
//!
//! The eight bytes of the report: written, a command and a channel; read, the relay's five-letter
//! serial, two unused bytes and a bit for each channel
//! (<http://vusb.wikidot.com/project:driver-less-usb-relays-hid-interface>).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use hil_core::deadline::Deadline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lane::Lane;
use super::{PATIENCE, Switch, failure};
use crate::error::DriverError;

/// As the kernel writes it into `uevent`: bus (3 is USB), vendor, product.
const HID_ID: &str = "HID_ID=0003:000016C0:000005DF";
const CLOSE: u8 = 0xFF;
const OPEN: u8 = 0xFD;
/// Report number 0 (the relay numbers none), then the report.
type Report = [u8; 9];

/// `[power.hid-relay]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HidRelay {
    /// `/dev/hidraw…`, or the five-letter serial of the relay.
    pub device: String,
    /// From 1.
    #[schemars(range(min = 1, max = 8))]
    pub channel: u8,
}

/// A relay that is looked for at each call: `/dev/hidraw` numbers change when it is plugged again.
pub struct Relay {
    config: HidRelay,
    root: PathBuf,
    lane: Lane,
}

impl Relay {
    /// `root` is `/`, or a folder that a test has filled.
    pub fn at(config: HidRelay, root: &Path) -> Relay {
        Relay { config, root: root.to_path_buf(), lane: Lane::default() }
    }

    /// Calls `work` with the open device. A relay that hangs holds an ioctl up for seconds.
    fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&File, u8) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        if !(1..=8).contains(&self.config.channel) {
            return Err(format!("`channel` is {}, but channels count 1 to 8", self.config.channel));
        }
        let (config, root) = (self.config.clone(), self.root.clone());
        self.lane.run(&Deadline::within(PATIENCE), "the USB transfer", move || {
            let (path, file) = device(&config.device, &root)?;
            work(&file, config.channel).map_err(|why| format!("{}: {why}", path.display()))
        })
    }
}

fn device(wanted: &str, root: &Path) -> Result<(PathBuf, File), String> {
    if wanted.starts_with('/') {
        let path = PathBuf::from(wanted);
        let file = open(&path)?;
        return Ok((path, file));
    }
    let mut others = Vec::new();
    for path in relays(root) {
        match open(&path).and_then(|file| Ok((serial(&read(&file)?)?, file))) {
            Ok((serial, file)) if serial == wanted => return Ok((path, file)),
            Ok((serial, _)) => others.push(format!("`{serial}` at {}", path.display())),
            Err(why) => others.push(why),
        }
    }
    if others.is_empty() {
        return Err("no USB HID relay (16c0:05df) is plugged in".into());
    }
    Err(format!("no relay has the serial `{wanted}`; there is {}", others.join(", ")))
}

/// The device files of what says that it is such a relay.
fn relays(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("sys/class/hidraw")).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| {
            let told = fs::read_to_string(entry.path().join("device/uevent"));
            told.is_ok_and(|told| told.lines().any(|line| line.eq_ignore_ascii_case(HID_ID)))
        })
        .map(|entry| root.join("dev").join(entry.file_name()))
        .collect();
    found.sort();
    found
}

fn open(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no {}", path.display()),
        io::ErrorKind::PermissionDenied => format!(
            "no permission for {}: install hil's udev rules (harness/lab/udev) and join the group \
             plugdev",
            path.display()
        ),
        _ => format!("{}: {error}", path.display()),
    })
}

fn command(channel: u8, on: bool) -> Report {
    [0, if on { CLOSE } else { OPEN }, channel, 0, 0, 0, 0, 0, 0]
}

fn serial(report: &Report) -> Result<String, String> {
    let letters = &report[1..6];
    if letters.iter().all(u8::is_ascii_graphic) {
        Ok(String::from_utf8_lossy(letters).into_owned())
    } else {
        Err(format!("expected a five-letter serial, got {}", failure::hex(&report[1..])))
    }
}

fn closed(report: &Report, channel: u8) -> bool {
    report[8] >> (channel - 1) & 1 == 1
}

/// `_IOC(_IOC_READ | _IOC_WRITE, 'H', number, length)` of `linux/hidraw.h`.
const fn hid_ioctl(number: u64, length: usize) -> u64 {
    3 << 30 | (length as u64) << 16 | (b'H' as u64) << 8 | number
}
const SET_FEATURE: u64 = hid_ioctl(0x06, size_of::<Report>());
const GET_FEATURE: u64 = hid_ioctl(0x07, size_of::<Report>());

fn transfer(file: &File, request: u64, report: &mut Report) -> Result<(), String> {
    #[expect(unsafe_code, reason = "hidraw has no other call; the length is in the request")]
    // SAFETY: the kernel reads and writes exactly the nine bytes that `request` names, and the
    // descriptor is open for the whole call.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), request as _, report.as_mut_ptr()) };
    if returned >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::ENOTTY | libc::EINVAL) => "it is no hidraw device".into(),
        Some(libc::ENODEV | libc::EIO) => format!("{error}: it was unplugged, or has lost power"),
        Some(libc::EPIPE | libc::EPROTO | libc::ETIMEDOUT) => {
            format!("{error}: it does not take feature reports; is it such a relay?")
        }
        _ => error.to_string(),
    })
}

fn read(file: &File) -> Result<Report, String> {
    let mut report = [0; 9];
    transfer(file, GET_FEATURE, &mut report)?;
    Ok(report)
}

impl Switch for Relay {
    fn label(&self) -> String {
        format!("USB HID relay {} of {}", self.config.channel, self.config.device)
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        let done = self.with(move |file, channel| {
            transfer(file, SET_FEATURE, &mut command(channel, on))?;
            // A relay with fewer channels takes the command and does nothing.
            if closed(&read(file)?, channel) == on {
                return Ok(());
            }
            let word = failure::word(!on);
            Err(format!("it took the command and stayed {word}: has it a channel {channel}?"))
        });
        failure::set(&self.label(), on, done)
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        let state = self.with(|file, channel| {
            let report = read(file)?;
            serial(&report)?;
            Ok(Some(closed(&report, channel)))
        });
        failure::get(&self.label(), state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_those_of_the_relay() {
        assert_eq!(command(1, true)[..3], [0, 0xFF, 1]);
        assert_eq!(command(8, false)[..3], [0, 0xFD, 8]);
        let report = *b"\0HURTM\0\0\x82";
        assert_eq!(serial(&report), Ok("HURTM".into()));
        let closed: Vec<u8> = (1..=8).filter(|channel| closed(&report, *channel)).collect();
        assert_eq!(closed, [2, 8]);
        assert!(serial(&[0; 9]).is_err());
    }

    #[test]
    fn ioctl_numbers_are_the_kernels() {
        assert_eq!((SET_FEATURE, GET_FEATURE), (0xC009_4806, 0xC009_4807));
    }
}
