//! How bytes go over a line that carries text only, and how both ends agree that they arrived:
//! encodings by tools of the target, quoting for its shell, the POSIX checksum. No I/O.

/// A tool of the target that prints bytes as text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoder {
    pub(crate) tool: &'static str,
    /// Reads stdin; prints one line for every `unit` bytes.
    pub(crate) command: &'static str,
    pub(crate) unit: usize,
    hex: bool,
}

/// The best first. busybox has all of them in its usual configurations.
pub(crate) const ENCODERS: &[Encoder] = &[
    Encoder { tool: "base64", command: "base64", unit: 57, hex: false },
    Encoder {
        tool: "hexdump",
        command: r#"hexdump -v -e '16/1 "%02x" "\n"'"#,
        unit: 16,
        hex: true,
    },
    Encoder { tool: "od", command: "od -An -v -tx1", unit: 16, hex: true },
    Encoder { tool: "xxd", command: "xxd -p", unit: 30, hex: true },
];

impl Encoder {
    /// The bytes of a line, if it is whole: exactly `want` bytes and nothing but its alphabet.
    pub(crate) fn decode(&self, line: &[u8], want: usize) -> Option<Vec<u8>> {
        let bytes = if self.hex { from_hex(line)? } else { from_base64(line)? };
        (bytes.len() == want).then_some(bytes)
    }

    /// A line as the tool prints it, less blanks around it.
    pub(crate) fn encode(&self, bytes: &[u8]) -> String {
        if !self.hex {
            return to_base64(bytes);
        }
        let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.join(if self.tool == "od" { " " } else { "" })
    }
}

fn from_hex(line: &[u8]) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = line
        .iter()
        .filter(|byte| **byte != b' ')
        .map(|byte| (*byte as char).to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn from_base64(line: &[u8]) -> Option<Vec<u8>> {
    if !line.len().is_multiple_of(4) {
        return None;
    }
    let padding = line.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let mut out = Vec::with_capacity(line.len() / 4 * 3);
    for quad in line.chunks_exact(4) {
        let mut bits = 0_u32;
        for byte in quad {
            let value = match byte {
                b'=' => 0,
                _ => BASE64.iter().position(|letter| letter == byte)? as u32,
            };
            bits = bits << 6 | value;
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    let pad_inside = line[..line.len() - padding].contains(&b'=');
    out.truncate(out.len() - padding);
    (!pad_inside).then_some(out)
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |nth: usize| u32::from(chunk.get(nth).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for nth in 0..4 {
            let letter = BASE64[(bits >> (18 - 6 * nth) & 63) as usize];
            out.push(if nth > chunk.len() { '=' } else { letter as char });
        }
    }
    out
}

/// Bytes as a format for the shell's `printf` that stands between single quotes; without the
/// quotes, should one get lost, it is still nothing but words. With `all` nothing but letters and
/// digits stays readable.
pub(crate) fn to_printf(bytes: &[u8], all: bool) -> String {
    let mut out = String::with_capacity(bytes.len() + bytes.len() / 4);
    for (nth, byte) in bytes.iter().enumerate() {
        let plain = byte.is_ascii_alphanumeric()
            // `~` begins the answers' marks, too, which the echo of a command must not hold.
            || (!all && b" -_./=:,+@^".contains(byte));
        // A format that begins with `-` would be an option.
        if plain && !(nth == 0 && *byte == b'-') {
            out.push(*byte as char);
        } else {
            out.push_str(&format!("\\{byte:03o}"));
        }
    }
    out
}

/// A word for the target's shell.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The POSIX checksum, as `cksum` prints it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cksum {
    crc: u32,
    len: u64,
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = (n as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
}

fn step(crc: u32, byte: u8) -> u32 {
    crc << 8 ^ TABLE[((crc >> 24) as u8 ^ byte) as usize]
}

impl Cksum {
    pub(crate) fn of(bytes: &[u8]) -> Cksum {
        let mut sum = Cksum::default();
        sum.add(bytes);
        sum
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.crc = bytes.iter().fold(self.crc, |crc, byte| step(crc, *byte));
        self.len += bytes.len() as u64;
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn value(&self) -> u32 {
        let (mut crc, mut len) = (self.crc, self.len);
        while len != 0 {
            crc = step(crc, len as u8);
            len >>= 8;
        }
        !crc
    }
}

/// What the target says of a file: its length, and its checksum where it has `cksum`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stamp {
    pub(crate) crc: Option<u32>,
    pub(crate) len: u64,
}

impl Stamp {
    /// Reads `CRC LENGTH`, or `- LENGTH`, as [`stamp_of`] prints it.
    pub(crate) fn parse(text: &str) -> Option<Stamp> {
        let mut words = text.split_whitespace();
        let crc = words.next()?;
        let crc = if crc == "-" { None } else { Some(crc.parse().ok()?) };
        Some(Stamp { crc, len: words.next()?.parse().ok()? })
    }

    pub(crate) fn fits(&self, sum: &Cksum) -> bool {
        self.len == sum.len() && self.crc.is_none_or(|crc| crc == sum.value())
    }
}

/// A shell command that prints the stamp of a file (a shell word).
pub(crate) fn stamp_of(word: &str) -> String {
    format!("cksum <{word} 2>/dev/null || {{ n=$(wc -c <{word}) && echo - $n; }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_goes_both_ways() {
        let encoder = &ENCODERS[0];
        for len in 0..60 {
            let bytes: Vec<u8> = (0..len).map(|n| (n * 37 + 200) as u8).collect();
            let text = to_base64(&bytes);
            assert_eq!(encoder.decode(text.as_bytes(), bytes.len()), Some(bytes));
        }
        assert_eq!(to_base64(b"hello"), "aGVsbG8=");
        for bad in ["aGVsbG8", "aG=sbG8=", "aGVs bG8=", "aGVsbG9h"] {
            assert_eq!(encoder.decode(bad.as_bytes(), 5), None, "{bad}");
        }
    }

    #[test]
    fn every_tools_own_line_is_known() {
        for encoder in ENCODERS {
            for bytes in [&b"\0\xff\x7f"[..], b"x", b"hello world"] {
                let line = encoder.encode(bytes);
                assert_eq!(encoder.decode(line.as_bytes(), bytes.len()).as_deref(), Some(bytes));
                let command = format!("{}|(read -r l;printf %s \"$l\")", encoder.command);
                let mut child = std::process::Command::new("busybox")
                    .args(["ash", "-c", &command])
                    .stdin(std::process::Stdio::piped())
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap();
                std::io::Write::write_all(&mut child.stdin.take().unwrap(), bytes).unwrap();
                let printed = child.wait_with_output().unwrap().stdout;
                assert_eq!(String::from_utf8_lossy(&printed), line, "{}", encoder.tool);
            }
        }
    }

    #[test]
    fn hex_of_any_tool_is_read() {
        assert_eq!(ENCODERS[2].decode(b"00 ff 7f", 3), Some(vec![0, 255, 127]));
        assert_eq!(ENCODERS[1].decode(b"00ff7f", 3), Some(vec![0, 255, 127]));
        assert_eq!(ENCODERS[1].decode(b"00ff7", 2), None);
        assert_eq!(ENCODERS[1].decode(b"0g", 1), None);
    }

    #[test]
    fn the_checksum_is_cksums() {
        assert_eq!(Cksum::of(b"").value(), 4_294_967_295);
        assert_eq!(Cksum::of(b"123456789").value(), 930_766_865);
        let stamp = Stamp::parse("930766865 9\n").unwrap();
        assert!(stamp.fits(&Cksum::of(b"123456789")));
        assert!(!stamp.fits(&Cksum::of(b"123456798")));
        assert!(Stamp::parse("- 9").unwrap().fits(&Cksum::of(b"123456798")));
    }

    #[test]
    fn a_printf_format_is_harmless_without_its_quotes() {
        let all: Vec<u8> = (0..=255).collect();
        let format = to_printf(&all, false);
        let fine = |c: char| c.is_ascii_alphanumeric() || " -_./=:,+@^\\".contains(c);
        assert!(format.chars().all(fine), "{format}");
    }

    #[test]
    fn a_printf_format_holds_no_mark_and_no_option() {
        assert_eq!(
            to_printf(b"-n 'a' 100% ~h\n", false),
            "\\055n \\047a\\047 100\\045 \\176h\\012"
        );
        assert_eq!(to_printf(b"a b-1", true), "a\\040b\\0551");
    }
}
