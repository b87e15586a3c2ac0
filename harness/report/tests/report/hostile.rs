//! Strings that break parsers, from a seed.

/// A small generator (splitmix64): the same seed, the same strings.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn char(&mut self) -> char {
        // Every class of code points in turn: C0, ASCII, C1, Latin, BMP's odd corners, the
        // noncharacters of each plane, private use, tags, the last one of all.
        let ranges = [
            (0x00, 0x1f),
            (0x20, 0x7f),
            (0x80, 0x9f),
            (0xa0, 0x24f),
            (0x200b, 0x2069),
            (0xd7f0, 0xd7ff),
            (0xe000, 0xe010),
            (0xfdd0, 0xfdef),
            (0xfef0, 0xffff),
            (0x1f600, 0x1f64f),
            (0x1fffe, 0x1ffff),
            (0xe0001, 0xe007f),
            (0x10fff0, 0x10ffff),
        ];
        let (first, last) = ranges[self.below(ranges.len())];
        char::from_u32(first + self.below((last - first + 1) as usize) as u32).unwrap()
    }

    pub(crate) fn string(&mut self) -> String {
        const BAD: [&str; 20] = [
            "\x1b[31mred\x1b[0m",
            "\0",
            "\x07",
            "]]>",
            "]]",
            "]]]]><![CDATA[>",
            "<![CDATA[",
            "</system-out>",
            "<!-- -->",
            "&amp;&#0;&bogus;",
            "\"'<>&",
            "\u{fffe}\u{ffff}",
            "\r",
            "\r\n",
            "\n\n",
            "[[ATTACHMENT|/etc/passwd]]",
            "::error::forged",
            "##[stop-commands]x",
            "```\n# h",
            "|x|</details><script>",
        ];
        let mut text = String::new();
        for _ in 0..self.below(12) {
            match self.below(4) {
                0 => text.push_str(BAD[self.below(BAD.len())]),
                1 => text.push_str("plain words"),
                2 => {
                    let bytes: Vec<u8> = (0..6).map(|_| self.next() as u8).collect();
                    text.push_str(&String::from_utf8_lossy(&bytes));
                }
                _ => text.push(self.char()),
            }
        }
        text
    }
}

use hil_core::event::What;
use hil_core::verdict::Verdict;

use crate::sample::{Run, id, plan};

/// A run in which everything that can come from outside is hostile.
pub(crate) fn run(seed: u64) -> Run {
    let mut random = Random(seed);
    let mut text = || random.string();
    let mut plan = plan("b", &[("os", &["s/a", "s/b", "s/c", "s/d"])], &[("s/e", "")]);
    plan.skips[0].reason = text();
    plan.board.push_str(&text());
    plan.sessions[0].cases[2].expected = Some(text());
    let odd = text();
    plan.sessions[0].cases[3].id.name.push_str(&odd);
    let started = What::SessionStarted { image: text(), power: text(), medium: text() };
    let mut finished = |case: &str, verdict| What::CaseFinished {
        case: id(case),
        verdict,
        why: Some(text()),
        took: 0.5,
        console: vec![text(), text(), text()],
    };
    let run = Run::of(plan)
        .then(started)
        .begin("s/a")
        .then(finished("s/a", Verdict::Fail))
        .begin("s/b")
        .then(finished("s/b", Verdict::Broken))
        .then(finished("s/c", Verdict::Fail));
    let fact = What::Fact { case: Some(id("s/a")), name: text(), value: 1.0, unit: text() };
    let line = text();
    let alarm = What::Alarm { alarm: hil_core::parts::Alarm::Panic, line, offset: 3 };
    let attachment = What::Attachment { case: id("s/a"), path: text() };
    run.then(fact).then(alarm).then(attachment).note(&text()).finished()
}
