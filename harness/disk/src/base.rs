//! What a layer stands on: a raw image file or a frozen layer, shared and never written. Whether the
//! image is the right one (digest, format, partition table) is not judged here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::layer::Layer;
use crate::present::SECTOR;

/// A read-only disk content that any number of layers share. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Base {
    inner: Arc<Inner>,
}

#[derive(Debug)]
enum Inner {
    Raw { file: File, path: PathBuf, bytes: u64 },
    Layer(Layer),
}

impl Base {
    /// Opens a raw image. A size that is no multiple of 512 is rounded up; what is added reads as
    /// zero, as `losetup` and QEMU have it, too.
    pub fn open(path: impl AsRef<Path>) -> Result<Base, Error> {
        let path = path.as_ref();
        let fail = |source| Error::Open { what: "disk image", path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        if !meta.is_file() {
            return Err(Error::NotAnImage {
                path: path.to_owned(),
                why: "it is not a regular file; name a raw image",
            });
        }
        if meta.len() == 0 {
            return Err(Error::NotAnImage {
                path: path.to_owned(),
                why: "it is empty; was its download or build cut short?",
            });
        }
        let inner = Inner::Raw { file, path: path.to_owned(), bytes: meta.len() };
        Ok(Base { inner: Arc::new(inner) })
    }

    pub(crate) fn from_layer(layer: Layer) -> Base {
        Base { inner: Arc::new(Inner::Layer(layer)) }
    }

    /// Size in bytes, a multiple of 512.
    pub fn size(&self) -> u64 {
        match &*self.inner {
            Inner::Raw { bytes, .. } => bytes.next_multiple_of(SECTOR),
            Inner::Layer(layer) => layer.size(),
        }
    }

    /// Reads at `offset`. Everything beyond the end reads as zero.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let within = self.size().saturating_sub(offset).min(buf.len() as u64) as usize;
        let (buf, beyond) = buf.split_at_mut(within);
        beyond.fill(0);
        match &*self.inner {
            Inner::Layer(layer) => layer.read_at(offset, buf),
            Inner::Raw { file, path, bytes } => {
                let held = bytes.saturating_sub(offset).min(buf.len() as u64) as usize;
                let (buf, padding) = buf.split_at_mut(held);
                padding.fill(0);
                file.read_exact_at(buf, offset).map_err(|e| explain(e, path))
            }
        }
    }

    /// The layer it is, if it is one.
    pub(crate) fn layer(&self) -> Option<&Layer> {
        match &*self.inner {
            Inner::Layer(layer) => Some(layer),
            Inner::Raw { .. } => None,
        }
    }

    /// What the indexes of this base (a frozen layer has one) cost in memory.
    pub(crate) fn index_bytes(&self) -> usize {
        match &*self.inner {
            Inner::Raw { .. } => 0,
            Inner::Layer(layer) => layer.index_bytes(),
        }
    }
}

/// An image that ends before the size it had when opened was truncated under us.
fn explain(error: io::Error, path: &Path) -> io::Error {
    if error.kind() != io::ErrorKind::UnexpectedEof {
        return io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    }
    let text = format!("{} became shorter while it was in use", path.display());
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_are_rounded_up_with_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("odd.img");
        std::fs::write(&path, vec![7u8; 700]).unwrap();
        let base = Base::open(&path).unwrap();
        assert_eq!(base.size(), 1024);
        let mut buf = [9u8; 600];
        base.read_at(500, &mut buf).unwrap();
        assert!(buf[..200].iter().all(|b| *b == 7));
        assert!(buf[200..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_directory_an_empty_file_and_a_shrinking_image_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let text = Base::open(dir.path()).unwrap_err().to_string();
        assert!(text.contains("not a regular file"), "{text}");
        let path = dir.path().join("x.img");
        std::fs::write(&path, b"").unwrap();
        assert!(Base::open(&path).unwrap_err().to_string().contains("empty"));
        std::fs::write(&path, vec![1u8; 4096]).unwrap();
        let base = Base::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(512).unwrap();
        let text = base.read_at(1024, &mut [0; 512]).unwrap_err().to_string();
        assert!(text.contains("became shorter"), "{text}");
    }
}
