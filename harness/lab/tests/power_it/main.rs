//! The power drivers against simulators that others wrote, against the kernel's interface, and
//! against devices that misbehave.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![expect(clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

mod command;
mod examples;
mod http;
mod ioctl;
mod lcus;
mod modbus;
mod pdudaemon;
mod peers;
mod snmp;
mod usb;
