//! Files into U-Boot's memory: over the network by TFTP, over the console by YMODEM, and proof by
//! its `crc32` that they are there. It serves no files: the TFTP server is somebody else's.

use hil_core::deadline::Deadline;
use hil_core::parts::Progress;
use hil_core::trouble::{Outcome, Trouble};

use super::ymodem::{self, Sender};
use super::{UBootConsole, lines};

impl UBootConsole {
    /// Takes an address from the network, and no file.
    pub async fn dhcp(&mut self, deadline: Deadline) -> Outcome {
        let said = self.command("setenv autoload no; dhcp", deadline).await?;
        network(said.status == 0, "take an address by DHCP", &said.text)
    }

    /// Loads a file to an address by TFTP; how many bytes it has. `server` replaces the one that
    /// DHCP or the environment told.
    pub async fn tftp(
        &mut self,
        server: Option<&str>,
        address: u64,
        file: &str,
        deadline: Deadline,
    ) -> Outcome<u64> {
        if let Some(server) = server {
            self.setenv("serverip", server, deadline).await?;
        }
        let said = self.command(&format!("tftpboot {address:#x} {file}"), deadline).await?;
        let doing = format!("load {file} by TFTP");
        network(said.status == 0, &doing, &said.text)?;
        let found = lines(r"^Bytes transferred = (\d+)")?;
        let size = found.captures(said.text.as_bytes()).and_then(|found| found.get(1));
        let size = size.and_then(|size| std::str::from_utf8(size.as_bytes()).ok()?.parse().ok());
        size.map_or_else(|| network(false, &doing, &said.text).map(|()| 0), Ok)
    }

    /// Loads bytes to an address over the console itself: some 10 KB/s at 115200 baud.
    pub async fn ymodem(
        &mut self,
        address: u64,
        bytes: &[u8],
        progress: Progress<'_>,
        deadline: Deadline,
    ) -> Outcome {
        let from = self.launch(&format!("loady {address:#x}"), deadline).await?;
        let sender = Sender { console: &*self.console, deadline };
        let sent = sender.send("hil", bytes, from, progress).await;
        if sent.is_err() {
            // Otherwise U-Boot waits for packets for a long while.
            self.console.send(&ymodem::CANCEL).await?;
        }
        let done = sent.map_err(|why| why.while_doing("send a file to U-Boot by YMODEM"));
        let from = done?;
        let prompt = self.console.expect(from, &self.prompt, deadline).await?;
        self.at_prompt = Some(prompt.end);
        self.holds(address, bytes, deadline).await
    }

    /// Proves by checksum that U-Boot's memory holds these bytes.
    pub async fn holds(&mut self, address: u64, bytes: &[u8], deadline: Deadline) -> Outcome {
        let line = format!("crc32 {address:#x} {:#x}", bytes.len());
        let said = self.run(&line, deadline).await?;
        let want = format!("{:08x}", crc32(bytes));
        match said.rsplit_once("==> ") {
            Some((_, have)) if have.trim() == want => Ok(()),
            _ => Err(Trouble::rack(format!(
                "U-Boot's memory at {address:#x} does not hold what was loaded there: its crc32 \
                 is to be {want}: {said}"
            ))),
        }
    }
}

/// The network between the rack and the bootloader is the rack's.
fn network(good: bool, doing: &str, said: &str) -> Outcome {
    if good {
        return Ok(());
    }
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(4)..].join(" / ");
    Err(Trouble::rack(format!("U-Boot failed to {doing}: {last}")))
}

/// CRC-32 as of IEEE 802.3, bit by bit: a file for a bootloader is small.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc32_is_the_usual_one() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
