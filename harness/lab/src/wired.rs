//! A board's power as its lab file wires it: which contact is power, and how long off must last.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::DriverError;
use crate::labfile::{Instance, Safe, Timing};
use crate::power::{self, Switch};

/// Relays take 5 to 15 ms (Songle SRD datasheet: 10 ms), network sockets up to a second.
const MOVES: Duration = Duration::from_millis(1500);

/// Between two questions; a serial relay needs 8 ms for one at 9600 baud.
const LOOK: Duration = Duration::from_millis(20);

/// The power of one instance. Calls block.
pub struct Wired {
    switch: Box<dyn Switch>,
    timing: Timing,
    off_since: Option<Instant>,
    asked: Option<Instant>,
    took: Duration,
}

impl Wired {
    pub fn new(instance: &Instance) -> Wired {
        Wired::over(power::open(&instance.power), instance.timing)
    }

    /// Over any switch, a test's for instance.
    pub fn over(switch: Box<dyn Switch>, timing: Timing) -> Wired {
        Wired { switch, timing, off_since: None, asked: None, took: Duration::ZERO }
    }

    pub fn label(&self) -> String {
        self.switch.label()
    }

    /// Gives power. Call it no sooner than [`Wired::not_before`].
    pub fn on(&mut self) -> Result<(), DriverError> {
        self.contact(true)?;
        self.off_since = None;
        Ok(())
    }

    /// Opens the contact and comes back at once: the board lives on for its hold-up time.
    pub fn off(&mut self) -> Result<(), DriverError> {
        self.contact(false)?;
        self.off_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// When the last command to the switch was begun.
    pub fn asked(&self) -> Option<Instant> {
        self.asked
    }

    /// How long the driver took with it, until it had sent everything or had its answer.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// How long a command is on its own wire.
    pub fn sending(&self) -> Duration {
        self.switch.sending()
    }

    /// Takes the power away for `width`, counted between the beginnings of the two commands, or
    /// for as long as one command takes; proves nothing, and heeds no shortest time off. When each
    /// command was begun.
    pub fn dip(&mut self, width: Duration) -> Result<(Instant, Instant), DriverError> {
        let off = Instant::now();
        self.switch.set(self.timing.inverted)?;
        sleep((off + width).saturating_duration_since(Instant::now()));
        let on = Instant::now();
        self.switch.set(!self.timing.inverted)?;
        Ok((off, on))
    }

    /// How long the power must stay off still, by this lab's wiring. A contact that was open when
    /// hil came counts from hil's first call.
    pub fn not_before(&self) -> Duration {
        match self.off_since {
            Some(since) => self.timing.min_off().saturating_sub(since.elapsed()),
            None => Duration::ZERO,
        }
    }

    /// Whether the board has power, as far as the device can tell.
    pub fn state(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(self.switch.get()?.map(|closed| closed != self.timing.inverted))
    }

    /// Brings the board into its safe state; tries again while the device refuses.
    pub fn settle(&mut self, safe: Safe, patience: Duration) -> Result<(), DriverError> {
        const PAUSE: Duration = Duration::from_millis(200);
        let until = Instant::now() + patience;
        loop {
            let done = match safe {
                Safe::Off => self.off(),
                Safe::On => self.on(),
            };
            match done {
                Err(_) if Instant::now() + PAUSE < until => sleep(PAUSE),
                done => return done,
            }
        }
    }

    /// What the device says of its contact once that had time to move.
    fn follows(&mut self, closed: bool) -> Result<Option<bool>, DriverError> {
        let until = Instant::now() + MOVES;
        loop {
            let found = self.switch.get()?;
            if found.is_none_or(|found| found == closed) || Instant::now() > until {
                return Ok(found);
            }
            sleep(LOOK);
        }
    }

    /// The contact, and proof of it where the device can be asked.
    fn contact(&mut self, power: bool) -> Result<(), DriverError> {
        let closed = power != self.timing.inverted;
        let asked = Instant::now();
        self.asked = Some(asked);
        self.switch.set(closed)?;
        self.took = asked.elapsed();
        match self.follows(closed)? {
            Some(found) if found != closed => {
                let words = |closed| if closed { "closed" } else { "open" };
                Err(DriverError::new(format!(
                    "switch {}: told to be {}, it says its contact is {}",
                    self.switch.label(),
                    words(closed),
                    words(found)
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    struct Contact {
        closed: bool,
        stuck: bool,
        refusals: u32,
    }

    struct Fake(Arc<Mutex<Contact>>);

    impl Switch for Fake {
        fn label(&self) -> String {
            "fake".into()
        }

        fn set(&mut self, on: bool) -> Result<(), DriverError> {
            let mut contact = self.0.lock().unwrap();
            if contact.refusals > 0 {
                contact.refusals -= 1;
                return Err(DriverError::new("not now"));
            }
            if !contact.stuck {
                contact.closed = on;
            }
            Ok(())
        }

        fn get(&mut self) -> Result<Option<bool>, DriverError> {
            Ok(Some(self.0.lock().unwrap().closed))
        }
    }

    fn wired(inverted: bool) -> (Wired, Arc<Mutex<Contact>>) {
        let contact = Arc::new(Mutex::new(Contact::default()));
        let timing = Timing { inverted, ..Timing::default() };
        (Wired::over(Box::new(Fake(contact.clone())), timing), contact)
    }

    #[test]
    fn polarity_is_the_wirings() {
        let (mut power, contact) = wired(true);
        power.on().unwrap();
        assert!(!contact.lock().unwrap().closed);
        assert_eq!(power.state().unwrap(), Some(true));
        power.off().unwrap();
        assert!(contact.lock().unwrap().closed);
        assert!(power.not_before() > Duration::from_secs(1));
    }

    #[test]
    fn a_contact_that_does_not_follow_is_told() {
        let (mut power, contact) = wired(false);
        contact.lock().unwrap().stuck = true;
        let error = power.on().unwrap_err().to_string();
        assert!(error.contains("told to be closed, it says its contact is open"), "{error}");
    }

    #[test]
    fn a_dip_ends_with_power_and_is_as_long_as_it_says() {
        for inverted in [false, true] {
            let (mut power, contact) = wired(inverted);
            power.on().unwrap();
            let (off, on) = power.dip(Duration::from_millis(5)).unwrap();
            assert!(on - off >= Duration::from_millis(5));
            assert_eq!(contact.lock().unwrap().closed, !inverted);
        }
    }

    #[test]
    fn settling_does_not_give_up_at_the_first_refusal() {
        let (mut power, contact) = wired(false);
        *contact.lock().unwrap() = Contact { closed: true, stuck: false, refusals: 2 };
        power.settle(Safe::Off, Duration::from_secs(20)).unwrap();
        assert!(!contact.lock().unwrap().closed);
    }
}
