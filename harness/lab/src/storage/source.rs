//! An image as pieces to be written: what holds data, and what must read as zeros. Nothing is
//! written here.
//!
//! A hole of a sparse image is content, namely zeros, and a medium that was used before has
//! something else there: it is zeroed. A block map says of the parts it leaves out that nobody
//! cares for them; they stay as they are.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

use super::bmap::{self, Sha};
use super::device::ALIGN;
use crate::error::DriverError;

/// A smaller hole is written like data: zeroing it alone would cost the medium a command.
const SMALLEST_HOLE: u64 = 1 << 20;

/// A part of an image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// Written, and compared with a digest of the block map where there is one.
    Data(Range<u64>, Option<Sha>),
    Zeros(Range<u64>),
}

/// An image on this host.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    file: File,
    pub(crate) size: u64,
    /// In ascending order and apart.
    pub(crate) pieces: Vec<Piece>,
    /// The block map that says so.
    pub(crate) map: Option<PathBuf>,
}

impl Source {
    /// Opens a raw image. Its block map is `bmap`, or `IMAGE.bmap` beside it, if there is one.
    pub(crate) fn open(path: &Path, bmap: Option<&Path>) -> Result<Source, DriverError> {
        let failed = |why: &dyn std::fmt::Display| {
            DriverError::new(format!("read the image {}: {why}", path.display()))
        };
        let file = File::open(path).map_err(|why| failed(&why))?;
        let metadata = file.metadata().map_err(|why| failed(&why))?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(failed(&"it is no file, or an empty one"));
        }
        refuse_packed(&file).map_err(|why| failed(&why))?;
        let size = metadata.len();
        let map = bmap.map(Path::to_path_buf).or_else(|| beside(path));
        let pieces = match &map {
            Some(map) => mapped(map, size)?,
            None => sparse(&file, size).map_err(|why| failed(&why))?,
        };
        Ok(Source { path: path.to_path_buf(), file, size, pieces, map })
    }

    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// The bytes that are written or zeroed.
    pub(crate) fn work(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.range().end - piece.range().start).sum()
    }
}

impl Piece {
    pub(crate) fn range(&self) -> &Range<u64> {
        match self {
            Piece::Data(range, _) | Piece::Zeros(range) => range,
        }
    }

    /// What a block map says of it.
    pub(crate) fn digest(&self) -> Option<&Sha> {
        match self {
            Piece::Data(_, digest) => digest.as_ref(),
            Piece::Zeros(_) => None,
        }
    }
}

/// A packed image written as it is would look like success until the board fails to boot.
fn refuse_packed(file: &File) -> Result<(), String> {
    let mut head = [0; 6];
    let n = file.read_at(&mut head, 0).map_err(|why| why.to_string())?;
    let kinds: [(&str, &[u8]); 6] = [
        ("gzip", b"\x1f\x8b"),
        ("xz", b"\xfd7zXZ\0"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("bzip2", b"BZh"),
        ("zip", b"PK\x03\x04"),
        ("qcow2", b"QFI\xfb"),
    ];
    match kinds.iter().find(|(_, magic)| head[..n].starts_with(magic)) {
        Some((kind, _)) => Err(format!("it is {kind}, not a raw disk image: unpack it first")),
        None => Ok(()),
    }
}

fn beside(image: &Path) -> Option<PathBuf> {
    let mut name = image.as_os_str().to_owned();
    name.push(".bmap");
    Some(PathBuf::from(name)).filter(|map| map.is_file())
}

fn mapped(map: &Path, size: u64) -> Result<Vec<Piece>, DriverError> {
    let bmap = bmap::read(map)?;
    if bmap.image_size != size {
        return Err(DriverError::new(format!(
            "use the block map {}: it is of an image of {} bytes, and this one has {size}",
            map.display(),
            bmap.image_size
        )));
    }
    Ok(bmap.ranges.into_iter().map(|(range, sha)| Piece::Data(range, Some(sha))).collect())
}

/// The data and the holes of a file, as its file system knows them.
fn sparse(file: &File, size: u64) -> io::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let (mut at, mut written) = (0, 0);
    while at < size {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            // Nothing but a hole is left.
            Err(rustix::io::Errno::NXIO) => size,
            // A file system that knows no holes.
            Err(rustix::io::Errno::INVAL) => at,
            Err(why) => return Err(why.into()),
        };
        let hole = at.next_multiple_of(ALIGN)..data - data % ALIGN;
        if hole.end.saturating_sub(hole.start) >= SMALLEST_HOLE {
            if written < hole.start {
                pieces.push(Piece::Data(written..hole.start, None));
            }
            written = hole.end;
            pieces.push(Piece::Zeros(hole));
        }
        at = match rustix::fs::seek(file, SeekFrom::Hole(data)) {
            Ok(end) => end.min(size),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NXIO) => size,
            Err(why) => return Err(why.into()),
        };
    }
    if written < size {
        pieces.push(Piece::Data(written..size, None));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn pieces(size: u64, data: &[Range<u64>]) -> Vec<Piece> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for range in data {
            let bytes = vec![1; (range.end - range.start) as usize];
            file.write_all_at(&bytes, range.start).unwrap();
        }
        sparse(&file, size).unwrap()
    }

    #[test]
    fn holes_are_zeros_and_small_ones_are_data() {
        let data = |range| Piece::Data(range, None);
        let parts = [0..4096, 8192..12_288, 4 * MIB..5 * MIB];
        let end = 8 * MIB + 100;
        let wanted = [
            data(0..12_288),
            Piece::Zeros(12_288..4 * MIB),
            data(4 * MIB..5 * MIB),
            Piece::Zeros(5 * MIB..8 * MIB),
            // Too short to be a whole block of the medium.
            data(8 * MIB..end),
        ];
        assert_eq!(pieces(end, &parts), wanted);
        assert_eq!(pieces(4 * MIB, &[]), [Piece::Zeros(0..4 * MIB)]);
        assert_eq!(pieces(100, &[]), [data(0..100)]);
    }

    #[test]
    fn a_packed_image_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        std::fs::write(&path, b"\x1f\x8b\x08 and so on").unwrap();
        let error = Source::open(&path, None).map(drop).unwrap_err().to_string();
        assert!(error.contains("gzip") && error.contains("unpack"), "{error}");
    }
}
