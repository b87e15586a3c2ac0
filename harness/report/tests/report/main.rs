//! The reports from outside: events in, files and text out.

mod events;
mod fold;
mod hostile;
mod junit;
mod live;
mod rebuild;
mod sample;
mod shown;
