//! Block maps: which parts of an image hold anything, with a digest of each. The format is that
//! of bmap-tools, version 2.0 (Yocto's `.wic.bmap`).

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;
use sha2::{Digest, Sha256};

use crate::error::DriverError;

pub(crate) type Sha = [u8; 32];

/// A larger file is no block map.
const LARGEST: u64 = 64 << 20;

/// What an image's block map says. Byte offsets.
#[derive(Debug, PartialEq)]
pub(crate) struct Bmap {
    pub(crate) image_size: u64,
    /// In ascending order, apart, within the image.
    pub(crate) ranges: Vec<(Range<u64>, Sha)>,
}

/// Reads and checks a block map.
pub(crate) fn read(path: &Path) -> Result<Bmap, DriverError> {
    let failed =
        |why: String| DriverError::new(format!("read the block map {}: {why}", path.display()));
    let size = fs::metadata(path).map_err(|why| failed(why.to_string()))?.len();
    if size > LARGEST {
        return Err(failed(format!("it has {size} bytes, which is no block map")));
    }
    let text = fs::read_to_string(path).map_err(|why| failed(why.to_string()))?;
    parse(&text).map_err(failed)
}

/// The elements of a file: values by name, and the ranges with their digests.
#[derive(Default)]
struct Elements {
    version: String,
    values: Vec<(String, String)>,
    ranges: Vec<(String, String)>,
}

impl Elements {
    fn read(text: &str) -> Result<Elements, String> {
        let mut reader = Reader::from_str(text);
        let mut found = Elements::default();
        // Names of the open elements; a range's digest; text of the innermost one.
        let (mut open, mut digest, mut inner) = (Vec::new(), String::new(), String::new());
        let wrong = |at: u64, why: &dyn std::fmt::Display| format!("no XML at byte {at}: {why}");
        loop {
            let at = reader.buffer_position();
            match reader.read_event().map_err(|why| wrong(at, &why))? {
                Event::Start(tag) => {
                    let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                    let attribute = |key: &str| -> Result<Option<String>, String> {
                        let found = tag.try_get_attribute(key).map_err(|why| wrong(at, &why))?;
                        Ok(found.map(|found| String::from_utf8_lossy(&found.value).into_owned()))
                    };
                    if name == "bmap" {
                        found.version = attribute("version")?.unwrap_or_default();
                    }
                    digest = attribute("chksum")?.unwrap_or_default();
                    open.push(name);
                    inner.clear();
                }
                Event::Text(text) => inner.push_str(&String::from_utf8_lossy(&text)),
                Event::End(_) => {
                    let value = std::mem::take(&mut inner).trim().to_string();
                    match open.pop() {
                        Some(name) if name == "Range" => {
                            found.ranges.push((value, std::mem::take(&mut digest)));
                        }
                        Some(name) => found.values.push((name, value)),
                        None => {}
                    }
                }
                Event::Eof => return Ok(found),
                _ => {}
            }
        }
    }

    fn value(&self, name: &str) -> Result<&str, String> {
        let found = self.values.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).ok_or_else(|| format!("it has no <{name}>"))
    }

    fn number(&self, name: &str) -> Result<u64, String> {
        let value = self.value(name)?;
        value.parse().map_err(|_| format!("<{name}> is `{value}`, not a number"))
    }
}

fn parse(text: &str) -> Result<Bmap, String> {
    let found = Elements::read(text)?;
    if found.version.split('.').next() != Some("2") {
        return Err(format!(
            "it is of version `{}`, and only 2.x has the digests that are checked here: make it \
             anew with bmaptool, or remove it",
            found.version
        ));
    }
    let kind = found.value("ChecksumType")?;
    if kind != "sha256" {
        return Err(format!("its digests are {kind}; only sha256 is checked here"));
    }
    check_itself(text, found.value("BmapFileChecksum")?)?;
    let image_size = found.number("ImageSize")?;
    let block = found.number("BlockSize")?;
    if block == 0 || image_size.div_ceil(block) != found.number("BlocksCount")? {
        return Err("<BlocksCount> blocks of <BlockSize> are not <ImageSize>".into());
    }
    let mut ranges: Vec<(Range<u64>, Sha)> = Vec::new();
    for (blocks, digest) in &found.ranges {
        let bytes = range(blocks, block, image_size)
            .ok_or_else(|| format!("`{blocks}` is no range of the image's blocks"))?;
        if ranges.last().is_some_and(|(last, _)| last.end > bytes.start) {
            return Err(format!("the range `{blocks}` is out of order"));
        }
        let digest = sha(digest).ok_or_else(|| format!("range {blocks} has no sha256"))?;
        ranges.push((bytes, digest));
    }
    Ok(Bmap { image_size, ranges })
}

/// `first-last` or `only`, in blocks.
fn range(blocks: &str, block: u64, image_size: u64) -> Option<Range<u64>> {
    let (first, last) = blocks.split_once('-').unwrap_or((blocks, blocks));
    let first: u64 = first.trim().parse().ok()?;
    let last: u64 = last.trim().parse().ok()?;
    let start = first.checked_mul(block)?;
    let end = last.checked_add(1)?.checked_mul(block)?.min(image_size);
    (start < end).then_some(start..end)
}

/// The map's digest of itself is that of the file with the digest's own place full of zeros.
fn check_itself(text: &str, digest: &str) -> Result<(), String> {
    let blank = text.replacen(digest, &"0".repeat(digest.len()), 1);
    let now = hex(&Sha256::digest(blank.as_bytes()).into());
    if sha(digest).is_some() && now.eq_ignore_ascii_case(digest) {
        return Ok(());
    }
    Err("it was changed after it was made: its own checksum does not fit".into())
}

fn sha(hex: &str) -> Option<Sha> {
    let mut sha = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (nth, byte) in sha.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * nth..2 * nth + 2], 16).ok()?;
    }
    Some(sha)
}

pub(crate) fn hex(sha: &Sha) -> String {
    sha.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of 10 000 bytes in blocks of 4096, of which the first and the last hold something.
    fn map(version: &str, ranges: &str) -> String {
        let digest = "0".repeat(64);
        let text = format!(
            "<?xml version=\"1.0\" ?>\n<bmap version=\"{version}\">\n<!-- about -->\n\
             <ImageSize> 10000 </ImageSize> <BlockSize> 4096 </BlockSize>\n\
             <BlocksCount> 3 </BlocksCount> <MappedBlocksCount> 2 </MappedBlocksCount>\n\
             <ChecksumType> sha256 </ChecksumType>\n\
             <BmapFileChecksum> {digest} </BmapFileChecksum>\n<BlockMap>{ranges}</BlockMap>\n\
             </bmap>\n"
        );
        let own = hex(&Sha256::digest(text.as_bytes()).into());
        text.replace(&format!("<BmapFileChecksum> {digest}"), &format!("<BmapFileChecksum> {own}"))
    }

    fn entry(blocks: &str) -> String {
        format!("<Range chksum=\"{}\"> {blocks} </Range>", "ab".repeat(32))
    }

    #[test]
    fn ranges_become_bytes_within_the_image() {
        let bmap = parse(&map("2.0", &(entry("0") + &entry("2-2")))).unwrap();
        assert_eq!(bmap.image_size, 10_000);
        assert_eq!(bmap.ranges, [(0..4096, [0xab; 32]), (8192..10_000, [0xab; 32])]);
    }

    #[test]
    fn what_cannot_be_trusted_is_refused() {
        let error = |text: &str| parse(text).unwrap_err();
        assert!(error(&map("1.3", "")).contains("version `1.3`"));
        let good = map("2.0", &entry("0-1"));
        assert!(error(&good.replace("0-1", "0-2")).contains("its own checksum"));
        assert!(error(&map("2.0", &entry("1-0"))).contains("no range"));
        assert!(error(&map("2.0", &(entry("2") + &entry("0")))).contains("out of order"));
        assert!(error(&map("2.0", "<Range> 0 </Range>")).contains("no sha256"));
        assert!(error("<bmap version=\"2.0\"><ImageSize").contains("no XML"));
        assert!(error("hello").contains("version"));
    }
}
