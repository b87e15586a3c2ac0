//! A block service that can lose power: an NBD server, copy-on-write layers over a shared read-only
//! base, and a volatile write cache. It knows nothing of emulators, boards or suites.
//!
//! ```text
//! Base (an image, or a frozen Layer)      never written, shared
//!   Layer                                 what is durable: sparse file + bitmap
//!     Disk = Layer + volatile cache       what is not: journal file + bounded index
//!       Server                            NBD on a unix socket, one connection a boot
//! ```
//!
//! A power cut in four steps: [`Disk::freeze`] (silence from here on), kill the emulator,
//! [`Disk::power_cut`] (the policy and the seed say what survives), start the emulator again. An
//! emulator that ends or is killed *without* a power cut loses nothing; its unflushed requests stay
//! pending, and a cut in a later boot may still take them.
//!
//! A disk that was stopped with its machine is the base of any number of forks ([`Disk::branch`]), in
//! later processes too ([`Base::save`]).
//!
//! # What is in memory, what on disk
//! No content stays in memory: a connection has a buffer of 256 KiB, the disk one of 128 KiB. The
//! index of the durable content takes at most 1 MiB for 4 GiB. The index of what is not durable is
//! bounded by [`DiskOptions::cache_items`]; over it the oldest requests become durable by
//! themselves, and [`CutReport::destaged`] says how many. On disk, a request's content lies in the
//! journal until it is durable, so that pending content takes up to twice its size for a moment;
//! with a write log ([`DiskLog`]) the journal is a named file that keeps everything.
//!
//! "Durable" is said of the emulated medium. Nothing is ever fsync'd on the host: a crash of the
//! host ends the run anyway.
//!
//! # Choices where the sources leave one
//! - A discard is *old or zero* until it is overwritten ([`Discard`]); reads see zero until a cut.
//! - Of two overlapping requests in flight the later submitted one is the newer.
//! - A flush does not cover a request in flight when it arrived. When a client vanishes, its
//!   requests count as completed without a reply: a flush of the next client covers them.
//! - Requests outside the disk or off its 512-byte sectors get EINVAL, so that ENOSPC always
//!   means that the *host* is out of space. That is also a [`Fault`].

mod base;
mod cache;
mod conn;
mod cut;
mod disk;
mod error;
mod event;
mod handshake;
mod journal;
mod layer;
mod log;
mod logread;
mod pacer;
mod present;
mod profile;
mod ranges;
mod rng;
mod saved;
mod server;
mod session;
mod wire;

pub use base::Base;
pub use cut::{CutReport, Policy};
pub use disk::{Disk, DiskLog, DiskOptions, OnEvent, OnFault};
pub use error::{Error, Fault, FaultKind};
pub use event::{Event, Next, Phase, Stats};
pub use layer::Layer;
pub use log::{Kind, LogEvent, Record, WriteLog};
pub use logread::LogReader;
pub use pacer::{Order, Replies};
pub use present::SECTOR;
pub use profile::{Discard, Profile};
pub use server::{Server, ServerOptions};
pub use session::{Content, Refused, Request, Session, Ticket};
