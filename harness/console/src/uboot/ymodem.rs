//! The sending side of YMODEM (Chuck Forsberg, "XMODEM/YMODEM protocol reference", 1988): one file,
//! packets of 1024 bytes with CRC-16.

use std::time::Duration;

use hil_core::deadline::{Deadline, secs};
use hil_core::parts::{Console, Progress};
use hil_core::trouble::{Outcome, Trouble};
use regex::bytes::Regex;

use super::lines;

const SOH: u8 = 0x01;
const STX: u8 = 0x02;
const EOT: u8 = 0x04;
const ACK: &str = "\x06";
const CAN: u8 = 0x18;
const PAD: u8 = 0x1a;

/// Ends a transfer from either side.
pub(super) const CANCEL: [u8; 4] = [CAN; 4];

/// How long the receiver may take over a packet; it sends at 1200 baud in nine seconds.
const PATIENCE: Duration = secs(15);

const TRIES: u32 = 10;

pub(super) struct Sender<'s> {
    pub(super) console: &'s dyn Console,
    pub(super) deadline: Deadline,
}

impl Sender<'_> {
    /// Sends one file to a receiver that asks for it behind offset `from`; the offset behind its
    /// last answer.
    pub(super) async fn send(
        &self,
        name: &str,
        bytes: &[u8],
        from: u64,
        progress: Progress<'_>,
    ) -> Outcome<u64> {
        let asks = lines("C$")?;
        let mut at = self.console.expect(from, &asks, self.soon()).await?.end;
        let mut header = format!("{name}\0{}", bytes.len()).into_bytes();
        header.resize(128, 0);
        at = self.packet(0, &header, at).await?;
        at = self.console.expect(at, &lines("C")?, self.soon()).await?.end;
        let size = bytes.len() as u64;
        for (nth, chunk) in bytes.chunks(1024).enumerate() {
            progress(nth as u64 * 1024, size);
            let mut data = chunk.to_vec();
            data.resize(1024, PAD);
            at = self.packet((nth + 1) as u8, &data, at).await?;
        }
        at = self.acknowledged(&[EOT], at).await?;
        progress(size, size);
        // A packet without a name: no further file.
        at = self.console.expect(at, &lines("C")?, self.soon()).await?.end;
        self.packet(0, &[0; 128], at).await
    }

    async fn packet(&self, nth: u8, data: &[u8], at: u64) -> Outcome<u64> {
        let kind = if data.len() == 128 { SOH } else { STX };
        let mut packet = vec![kind, nth, !nth];
        packet.extend_from_slice(data);
        packet.extend_from_slice(&crc16(data).to_be_bytes());
        self.acknowledged(&packet, at).await
    }

    /// Sends until it is acknowledged.
    async fn acknowledged(&self, packet: &[u8], mut at: u64) -> Outcome<u64> {
        let answers = Regex::new(r"(?-u)[\x06\x15]|\x18\x18")
            .map_err(|why| Trouble::rack(format!("no regex: {why}")))?;
        for _ in 0..TRIES {
            self.deadline.bound("a packet", self.console.send(packet)).await?;
            match self.console.expect(at, &answers, self.soon()).await {
                Ok(found) if found.groups[0] == ACK => return Ok(found.end),
                Ok(found) if found.groups[0].len() == 2 => {
                    return Err(Trouble::rack("the receiver cancelled the transfer"));
                }
                Ok(refused) => at = refused.end,
                Err(Trouble::Unmet(_)) if !self.deadline.passed() => {}
                Err(other) => return Err(other),
            }
        }
        Err(Trouble::rack(format!("a packet was refused {TRIES} times: the line loses bytes")))
    }

    fn soon(&self) -> Deadline {
        self.deadline.or_sooner(PATIENCE)
    }
}

/// CRC-16 of XMODEM: polynomial 0x1021, starting at 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc16_is_that_of_xmodem() {
        assert_eq!(super::crc16(b"123456789"), 0x31c3);
    }
}
