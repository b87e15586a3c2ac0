//! The reports from outside: events in, files and text out.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which may panic as tests do")]

mod events;
mod fold;
mod hostile;
mod junit;
mod live;
mod merge;
mod rebuild;
mod retries;
mod sample;
mod shown;
mod subtests;
