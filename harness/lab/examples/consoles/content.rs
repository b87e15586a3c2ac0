//! What the boards say: something like a boot log, with every byte value in it now and then, and
//! different on each console at every moment.

/// The text goes round; consoles begin at different places of it.
const ROUND: usize = 1 << 20;

/// What all consoles read from.
pub(crate) struct Content(Vec<u8>);

impl Content {
    pub(crate) fn new() -> Content {
        let mut bytes = Vec::with_capacity(ROUND + 256);
        let mut state = 88_172_645_463_325_252_u64;
        let mut nth = 0_u64;
        while bytes.len() < ROUND {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let line = format!(
                "[{:>5}.{:06}] unit-{nth}: {state:016x} reached target of {}\r\n",
                nth / 50,
                nth * 20_000 % 1_000_000,
                state % 1009
            );
            bytes.extend_from_slice(line.as_bytes());
            if nth.is_multiple_of(1000) {
                bytes.extend(0..=255_u8);
            }
            nth += 1;
        }
        bytes.truncate(ROUND);
        Content(bytes)
    }

    /// Bytes of console `nth` from `offset` on, at most `most`.
    pub(crate) fn at(&self, nth: usize, offset: u64, most: usize) -> &[u8] {
        // A prime, so that no two consoles say the same at the same time.
        let begin = (nth as u64 * 1_033 + offset) % ROUND as u64;
        let rest = &self.0[begin as usize..];
        &rest[..rest.len().min(most)]
    }
}
