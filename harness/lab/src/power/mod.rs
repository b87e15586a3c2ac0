//! Switches of a board's power: one file a device kind, behind one small trait.

pub mod command;
mod failure;
pub mod gpio;
pub mod hid_relay;
pub mod http;
mod lane;
pub mod lcus;
pub mod modbus;
mod net;
pub mod pdudaemon;
mod port;
pub mod secret;
pub mod snmp;
pub mod usb_hub;

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::DriverError;

/// No driver call takes longer than this; one that would is given up with an error.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// One switch, of one board. Calls block, at most [`PATIENCE`]. `on` speaks of the switch's
/// contact; which contact powers the board (`inverted` wiring) is settled by the caller.
pub trait Switch: Send {
    /// What it is, for people: `LCUS relay 2 on /dev/serial/by-path/…`.
    fn label(&self) -> String;
    fn set(&mut self, on: bool) -> Result<(), DriverError>;
    /// What the device itself says of its contact; `None` where it cannot be asked.
    fn get(&mut self) -> Result<Option<bool>, DriverError>;
    /// How long a command is on its own wire, begin to end; zero where that is below a millisecond.
    fn sending(&self) -> Duration {
        Duration::ZERO
    }
}

/// Which switch powers a board: `[instance.NAME.power.KIND]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PowerSpec {
    /// Serial relay of the LCUS type (CH340, four-byte frames).
    Lcus(lcus::Lcus),
    /// USB HID relay ("USBRelay2", 16c0:05df).
    HidRelay(hid_relay::HidRelay),
    /// Per-port power of a USB hub.
    UsbHub(usb_hub::UsbHub),
    /// Coil over Modbus TCP.
    ModbusTcp(modbus::ModbusTcp),
    /// Coil over Modbus RTU.
    ModbusRtu(modbus::ModbusRtu),
    /// A line of a GPIO chip.
    Gpio(gpio::Gpio),
    /// An outlet of an SNMP PDU.
    Snmp(snmp::Snmp),
    /// A Tasmota socket.
    Tasmota(http::Tasmota),
    /// A Shelly socket.
    Shelly(http::Shelly),
    /// A port that a PDUDaemon switches.
    Pdudaemon(pdudaemon::Pdudaemon),
    /// Any program.
    Command(command::Command),
}

impl PowerSpec {
    /// What must not stand in any output. The communities that every manual prints are none.
    pub fn secrets(&self) -> Vec<&str> {
        let secrets = match self {
            PowerSpec::Tasmota(socket) => socket.login.iter().map(|it| &it.password).collect(),
            PowerSpec::Shelly(socket) => socket.login.iter().map(|it| &it.password).collect(),
            PowerSpec::Snmp(pdu) => pdu.access.secrets(),
            _ => Vec::new(),
        };
        let revealed = secrets.into_iter().map(secret::Secret::reveal);
        revealed.filter(|text| !["public", "private"].contains(text)).collect()
    }
}

/// Makes the driver. Nothing is touched before its first call. Keep it for as long as the board
/// is held: a GPIO line has its level only while its driver lives.
pub fn open(spec: &PowerSpec) -> Box<dyn Switch> {
    let root = Path::new("/");
    match spec.clone() {
        PowerSpec::Lcus(device) => Box::new(device),
        PowerSpec::HidRelay(device) => Box::new(hid_relay::Relay::at(device, root)),
        PowerSpec::UsbHub(device) => Box::new(usb_hub::HubPort::at(device, root)),
        PowerSpec::ModbusTcp(device) => Box::new(device),
        PowerSpec::ModbusRtu(device) => Box::new(device),
        PowerSpec::Gpio(device) => Box::new(gpio::Line::new(device)),
        PowerSpec::Snmp(device) => Box::new(device),
        PowerSpec::Tasmota(device) => Box::new(device),
        PowerSpec::Shelly(device) => Box::new(device),
        PowerSpec::Pdudaemon(device) => Box::new(device),
        PowerSpec::Command(device) => Box::new(device),
    }
}
