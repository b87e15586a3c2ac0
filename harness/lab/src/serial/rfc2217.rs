//! Telnet with control of the serial port behind it (RFC 2217): rate and framing are set and
//! confirmed; a server that can reports what its UART took for damaged.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::comport::*;
use super::nvt::Nvt;
use super::revive::{self, Port};
use super::{Flow, Line, net, tty};
use crate::error::DriverError;

/// `[console.rfc2217]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `address`")]
pub struct Rfc2217 {
    /// `host:port`
    pub address: String,
    /// Bits a second, instead of the board's own rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 50, max = 4_000_000))]
    pub baud: Option<u32>,
    #[serde(default, skip_serializing_if = "Flow::is_none")]
    pub flow: Flow,
    /// The line DTR once the port is open. Left out: as the server has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtr: Option<bool>,
    /// The line RTS, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rts: Option<bool>,
}

impl Rfc2217 {
    pub fn new(address: impl Into<String>) -> Rfc2217 {
        let (baud, flow, dtr, rts) = (None, Flow::None, None, None);
        Rfc2217 { address: address.into(), baud, flow, dtr, rts }
    }

    pub fn label(&self, baud: u32) -> String {
        format!("rfc2217 {} at {}", self.address, self.baud.unwrap_or(baud))
    }

    pub async fn open(&self, baud: u32) -> Result<Line, DriverError> {
        let port = Rfc2217 { baud: Some(self.baud.unwrap_or(baud)), ..self.clone() };
        revive::open(port).await
    }

    /// 8N1 at our rate, each setting confirmed.
    async fn set_up(&self, nvt: &mut Nvt) -> Result<(), DriverError> {
        let baud = self.baud.unwrap_or(115_200);
        let told = nvt.set(SET_BAUDRATE, &baud.to_be_bytes()).await?;
        let got = <[u8; 4]>::try_from(told.as_slice()).map_or(0, u32::from_be_bytes);
        if !tty::is_near(baud, got) {
            let what = format!("set the port's baud rate: {baud} was asked for, it has {got}");
            return Err(DriverError::new(what));
        }
        for (command, value) in [(SET_DATASIZE, 8), (SET_PARITY, 1), (SET_STOPSIZE, 1)] {
            let told = nvt.set(command, &[value]).await?;
            if told != [value] {
                return Err(DriverError::new(format!(
                    "set the port's {}: {value} was asked for, it has {told:?} (numbers of \
                     RFC 2217)",
                    name(command)
                )));
            }
        }
        let flow = if self.flow == Flow::Hardware { HARDWARE_FLOW } else { NO_FLOW };
        let dtr = self.dtr.map(|on| if on { DTR_ON } else { DTR_OFF });
        let rts = self.rts.map(|on| if on { RTS_ON } else { RTS_OFF });
        for value in [Some(flow), dtr, rts].into_iter().flatten() {
            nvt.set(SET_CONTROL, &[value]).await?;
        }
        // ser2net and sercd confirm neither: whether faults will be reported cannot be known.
        nvt.ask(SET_LINESTATE_MASK, &[ALL_FAULTS]);
        // Nobody asks about modem lines; their changes would come as noise.
        nvt.ask(SET_MODEMSTATE_MASK, &[0]);
        Ok(())
    }
}

#[async_trait]
impl Port for Rfc2217 {
    type Io = Nvt;

    async fn open(&self, _again: bool) -> Result<Nvt, DriverError> {
        let tcp = net::connect(&self.address).await?;
        let set_up = async {
            let mut nvt = Nvt::agree(tcp, true).await?;
            if !nvt.controls() {
                return Err(DriverError::new(
                    "control the port: the server refuses RFC 2217; give ser2net's accepter \
                     `telnet(rfc2217)`, or take [console.telnet]",
                ));
            }
            self.set_up(&mut nvt).await?;
            Ok(nvt)
        };
        let named =
            |error| DriverError::new(format!("open rfc2217 {}: failed to {error}", self.address));
        set_up.await.map_err(named)
    }

    fn pause(&self, nth: u32) -> Duration {
        net::pause(nth)
    }

    fn why(&self, error: Option<&io::Error>, said: &str) -> String {
        net::why(&self.address, error, said)
    }
}
