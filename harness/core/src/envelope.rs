//! An envelope: the smaller device that emulated boards are to be for one run. It turns board and
//! image, which are values, into others, before anything is planned or touched.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::board::{Board, too_little_memory};
use crate::image::Image;

/// What a board is given instead of its own; `ram=256M,cpus=1,disk=2G`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// RAM in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_mib: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// The boot medium's size in MiB; the image must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u32>,
}

impl Envelope {
    /// The board in the envelope; an error says why it cannot be.
    pub fn around(&self, board: &Board) -> Result<Board, String> {
        let mut board = board.clone();
        let Some(on) = &mut board.qemu else {
            return Err(format!("`{}` is a physical board: it is as large as it is", board.name));
        };
        on.memory_mib = self.ram_mib.or(on.memory_mib);
        on.cpus = self.cpus.or(on.cpus);
        board.storage.size_mib = self.disk_mib.or(board.storage.size_mib);
        Ok(board)
    }

    /// The image in the envelope: what RAM it asks for does not count.
    #[must_use]
    pub fn around_image(&self, image: &Image) -> Image {
        let mut image = image.clone();
        if self.ram_mib.is_some() {
            image.memory_mib = None;
        }
        image
    }
}

impl FromStr for Envelope {
    type Err = String;

    fn from_str(text: &str) -> Result<Envelope, String> {
        let mut envelope = Envelope::default();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let twice = match key {
                "ram" => envelope.ram_mib.replace(ram(value)?).is_some(),
                "cpus" => envelope.cpus.replace(cpus(value)?).is_some(),
                "disk" => envelope.disk_mib.replace(mib(value)?).is_some(),
                _ => return Err(format!("`{key}` is none of ram, cpus, disk")),
            };
            if twice {
                return Err(format!("`{key}` is given twice"));
            }
        }
        Ok(envelope)
    }
}

/// An amount with its unit, in MiB.
pub fn mib(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no amount: give MiB or GiB, as 256M or 2G");
    let (number, factor) = match text.strip_suffix('G') {
        Some(number) => (number, 1024),
        None => (text.strip_suffix('M').ok_or_else(wrong)?, 1),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|mib| *mib > 0).ok_or_else(wrong)
}

fn ram(text: &str) -> Result<u32, String> {
    let ram = mib(text)?;
    too_little_memory(ram).map_or(Ok(ram), Err)
}

fn cpus(text: &str) -> Result<u32, String> {
    let cpus = text.parse().ok().filter(|cpus| (1..=64).contains(cpus));
    cpus.ok_or_else(|| format!("`{text}` is no number of processors from 1 to 64"))
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.ram_mib.map(|mib| format!("ram={mib}M")),
            self.cpus.map(|cpus| format!("cpus={cpus}")),
            self.disk_mib.map(|mib| format!("disk={mib}M")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        let envelope: Envelope = "ram=256M,cpus=2,disk=2G".parse().unwrap();
        assert_eq!(envelope.to_string(), "ram=256M,cpus=2,disk=2048M");
        for wrong in
            ["ram=256", "ram=0M", "ram=8M", "cpus=0", "rom=1M", "ram=1M,ram=2M", "", "disk"]
        {
            assert!(wrong.parse::<Envelope>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_board_shrinks_and_an_image_no_longer_asks_for_more() {
        let board = "title = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"m\"\nmemory_mib = 512\n";
        let board = Board::parse(board, Path::new("qemu-x.toml")).unwrap();
        let envelope: Envelope = "ram=128M,cpus=2".parse().unwrap();
        let small = envelope.around(&board).unwrap();
        let on = small.qemu.clone().unwrap();
        assert_eq!((on.memory_mib, on.cpus, small.storage.size_mib), (Some(128), Some(2), None));
        let image =
            "name = \"os\"\narch = \"arm\"\nmemory_mib = 700\n[boot.kernel]\nfile = \"k\"\n";
        let image = Image::parse(image, Path::new("image.toml")).unwrap();
        assert_eq!(envelope.around_image(&image).memory_mib, None);
        let only_disk: Envelope = "disk=1G".parse().unwrap();
        assert_eq!(only_disk.around_image(&image).memory_mib, Some(700));
    }
}
