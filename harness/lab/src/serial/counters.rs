//! The kernel's counters of a serial port: what the UART and the driver lost or took for damaged.
//! The ioctl is Linux's TIOCGICOUNT (`struct serial_icounter_struct`, linux/serial.h); ptys and
//! some USB adapters' drivers do not have it.

use std::os::fd::BorrowedFd;

use super::revive::Faults;

/// As the kernel fills it: `int`s that wrap.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Icount {
    cts: u32,
    dsr: u32,
    rng: u32,
    dcd: u32,
    rx: u32,
    tx: u32,
    frame: u32,
    overrun: u32,
    parity: u32,
    brk: u32,
    buf_overrun: u32,
    reserved: [u32; 9],
}

/// asm-generic/ioctls.h; hil runs on x86_64 and arm, which take it from there.
const TIOCGICOUNT: rustix::ioctl::Opcode = 0x545D;

/// Asks the kernel; an error where the port does not count.
#[expect(unsafe_code, reason = "rustix has no function of its own for this ioctl")]
pub(super) fn icount(port: BorrowedFd<'_>) -> std::io::Result<Icount> {
    // Safety: the opcode fills one `struct serial_icounter_struct`, which `Icount` mirrors; other
    // kinds of file refuse it without writing.
    let asked =
        unsafe { rustix::ioctl::ioctl(port, rustix::ioctl::Getter::<TIOCGICOUNT, Icount>::new()) };
    Ok(asked?)
}

/// What has been counted since the port was opened.
pub(super) struct Counters(Icount);

impl Counters {
    /// Counts from here on: the kernel's begin when its driver was loaded.
    pub(super) fn since(start: Icount) -> Counters {
        Counters(start)
    }

    pub(super) fn advance(&mut self, now: Icount) -> Faults {
        let before = std::mem::replace(&mut self.0, now);
        let grown = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
        Faults {
            overruns: grown(now.overrun, before.overrun)
                + grown(now.buf_overrun, before.buf_overrun),
            framing: grown(now.frame, before.frame),
            parity: grown(now.parity, before.parity),
            breaks: grown(now.brk, before.brk),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_structure_is_the_kernels() {
        // linux/serial.h: eleven ints and nine reserved ones.
        assert_eq!(size_of::<Icount>(), 80);
        assert_eq!(std::mem::offset_of!(Icount, frame), 24);
        assert_eq!(std::mem::offset_of!(Icount, buf_overrun), 40);
    }

    #[test]
    fn only_what_is_new_is_told_and_a_wrap_is_no_flood() {
        let start = Icount { frame: 7, overrun: u32::MAX, rx: 9, ..Icount::default() };
        let mut counters = Counters::since(start);
        assert_eq!(counters.advance(start), Faults::default());
        let now = Icount { overrun: 1, buf_overrun: 3, brk: 1, ..start };
        assert_eq!(counters.advance(now), Faults { overruns: 5, breaks: 1, ..Faults::default() });
        let later = Icount { frame: 8, parity: 2, ..now };
        assert_eq!(counters.advance(later), Faults { framing: 1, parity: 2, ..Faults::default() });
    }

    #[test]
    fn a_file_that_does_not_count_says_so() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(icount(null.as_fd()).is_err());
    }
}
