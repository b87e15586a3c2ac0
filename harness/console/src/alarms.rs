//! Recognises a kernel in trouble in a line of console output. Which of them end a boot, and what
//! is to be done then, is not decided here.

use std::sync::LazyLock;

use hil_core::parts::Alarm;
use regex::bytes::Regex;

/// What a kernel says, as a regex, and the words in it that tell it from the others.
///
/// Not among them: `watchdog did not stop!`, which every orderly reboot under systemd prints, and
/// `WARNING:`, which taints the kernel and is asked for by the taint check.
const SAYINGS: &[(&str, &str, Alarm)] = &[
    (r"Kernel panic - not syncing", "panic", Alarm::Panic),
    (r"Unable to handle kernel", "Unable", Alarm::Oops),
    (r"Internal error: Oops", "Internal error", Alarm::Oops),
    (r"Oops( - [a-z ]{1,30})?(: [0-9a-fx]{1,16})? ?\[#[0-9]", "Oops", Alarm::Oops),
    (r"kernel BUG at ", "kernel BUG at ", Alarm::Oops),
    (r"BUG: (unable to handle|kernel NULL pointer)", "BUG: ", Alarm::Oops),
    (r"BUG: (KASAN|KFENCE|Bad page|scheduling while atomic)", "BUG: ", Alarm::Oops),
    (r"BUG: (sleeping function called|spinlock )", "BUG: ", Alarm::Oops),
    (r"general protection fault", "general protection", Alarm::Oops),
    (r"BUG: soft lockup", "lockup", Alarm::Lockup),
    (r"BUG: workqueue lockup", "lockup", Alarm::Lockup),
    (r"detected hard LOCKUP", "LOCKUP", Alarm::Lockup),
    (r"INFO: rcu_[a-z]+ (self-)?detected (expedited )?stall", "rcu_", Alarm::Lockup),
    (r"blocked for more than [0-9]+ seconds", "blocked for", Alarm::HungTask),
    (r"ut of memory: Kill(ed)? process", "ut of memory", Alarm::Oom),
    (r"oom-kill:", "oom-kill", Alarm::Oom),
    (r"Watchdog timer expired", "Watchdog timer", Alarm::Watchdog),
    (r"softdog: Initiating ", "softdog", Alarm::Watchdog),
];

/// The longest saying; a line cut into pieces is looked at with this much overlap.
pub(crate) const REACH: usize = 96;

/// All sayings in one pass over a line. Compiled once for all consoles: its tables are 100 KB.
static ALL: LazyLock<Result<Regex, regex::Error>> = LazyLock::new(|| {
    let all: Vec<&str> = SAYINGS.iter().map(|(saying, _, _)| *saying).collect();
    let pattern = format!("(?-u){}", all.join("|"));
    regex::bytes::RegexBuilder::new(&pattern).dfa_size_limit(256 << 10).build()
});

#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarms(&'static Regex);

impl Alarms {
    pub(crate) fn new() -> Result<Alarms, regex::Error> {
        ALL.as_ref().map(Alarms).map_err(Clone::clone)
    }

    /// The gravest alarm in a line, and where in the line its words stand.
    pub(crate) fn find(&self, line: &[u8]) -> Option<(Alarm, std::ops::Range<usize>)> {
        let known = |hit: regex::bytes::Match<'_>| {
            // The trailer of a panic's backtrace tells of the same panic.
            if line[..hit.start()].ends_with(b"end ") {
                return None;
            }
            let says = |words: &str| memchr::memmem::find(hit.as_bytes(), words.as_bytes());
            let (_, _, alarm) = SAYINGS.iter().find(|(_, words, _)| says(words).is_some())?;
            // Soft lockups begin like the other BUGs: the lockup's own words decide.
            let lockup = says("lockup").is_some();
            let alarm = if lockup { Alarm::Lockup } else { *alarm };
            Some((alarm, hit.range()))
        };
        // `Alarm` is ordered by gravity; most lines hold none and cost one prefilter.
        self.0.find_iter(line).filter_map(known).min_by_key(|(alarm, _)| *alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_real_kernels_say() {
        let alarms = Alarms::new().unwrap();
        let told = |line: &str| alarms.find(line.as_bytes()).map(|(alarm, _)| alarm);
        let cases = [
            ("[    1.2] Kernel panic - not syncing: VFS: Unable to mount root", Alarm::Panic),
            ("demo login: [   99.1] Kernel panic - not syncing: Fatal exception", Alarm::Panic),
            ("[  3.1] BUG: kernel NULL pointer dereference, address: 0000000000", Alarm::Oops),
            ("[  3.1] BUG: unable to handle page fault for address: ffff", Alarm::Oops),
            ("Oops: 0002 [#1] PREEMPT SMP NOPTI", Alarm::Oops),
            ("Internal error: Oops: 0000000096000004 [#1] SMP", Alarm::Oops),
            ("[  5.1] Internal error: Oops - BUG: 0 [#1] SMP ARM", Alarm::Oops),
            ("Unable to handle kernel paging request at virtual address dead", Alarm::Oops),
            ("kernel BUG at fs/ext4/inode.c:123!", Alarm::Oops),
            ("general protection fault, probably for non-canonical address", Alarm::Oops),
            ("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)", Alarm::Oom),
            ("Out of memory: Killed process 212 (stress) total-vm:1kB", Alarm::Oom),
            ("Memory cgroup out of memory: Killed process 9 (x)", Alarm::Oom),
            ("INFO: task jbd2/vda4-8:77 blocked for more than 120 seconds.", Alarm::HungTask),
            ("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [cc1:99]", Alarm::Lockup),
            ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", Alarm::Lockup),
            ("rcu: INFO: rcu_sched self-detected stall on CPU", Alarm::Lockup),
            ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", Alarm::Lockup),
            ("rcu: INFO: rcu_sched detected expedited stalls on CPUs", Alarm::Lockup),
            ("sp5100_tco: Watchdog timer expired", Alarm::Watchdog),
            ("softdog: Initiating system reboot", Alarm::Watchdog),
        ];
        for (line, alarm) in cases {
            assert_eq!(told(line), Some(alarm), "{line}");
        }
    }

    #[test]
    fn what_is_no_alarm() {
        let alarms = Alarms::new().unwrap();
        for line in [
            "---[ end Kernel panic - not syncing: Fatal exception ]---",
            "watchdog: watchdog0: watchdog did not stop!",
            "Oops: I dropped the spoon",
            "systemd[1]: Using hardware watchdog 'i6300ESB timer', version 0",
            "x blocked for more than a day",
            "EXT4-fs (vda2): mounted filesystem",
        ] {
            assert_eq!(alarms.find(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_panic_outweighs_what_stands_before_it() {
        let alarms = Alarms::new().unwrap();
        let line = b"Out of memory: Killed process 1 (init) Kernel panic - not syncing: x";
        assert_eq!(alarms.find(line), Some((Alarm::Panic, 39..65)));
    }

    #[test]
    fn no_saying_is_longer_than_the_overlap() {
        let alarms = Alarms::new().unwrap();
        let longest = format!("Oops - {}: {} [#1", "a".repeat(30), "f".repeat(16));
        let (_, range) = alarms.find(longest.as_bytes()).unwrap();
        assert!(range.len() < REACH, "{range:?}");
    }
}
