//! U-Boot over the serial console: stopping its countdown, commands with their exit status,
//! variables, and the boot of a system. Bringing files into its memory is `load`'s.
//!
//! It types as a careful person does: a piece of a line, a look at its echo, the next piece. U-Boot
//! polls its UART, so whatever comes while it does something else is lost.

mod load;
mod typing;
mod ymodem;

use std::sync::Arc;
use std::time::Duration;

use hil_core::board;
use hil_core::deadline::{Deadline, secs};
use hil_core::parts::{Console, Match};
use hil_core::trouble::{Outcome, Trouble};
use regex::bytes::{Regex, RegexBuilder};

use crate::ansi::{self, Cleaner, Piece};

/// What shows that a system starts: a regex for [`UBootConsole::boot`].
pub const STARTED: &str = "Starting kernel|Linux version \\d|Booting Linux on physical CPU|\
                           EFI stub: |Uncompressing Linux";

/// How often the interrupt is sent: a countdown of 0 looks for a key once.
const PRESS_EVERY: Duration = Duration::from_millis(40);

/// How long the console is silent behind a damaged answer before it is asked for again.
const SILENCE: Duration = secs(2);

/// How much of what a command printed is kept.
const MOST: u64 = 1 << 20;

/// What a command printed, without its echo and its last line end, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub status: i32,
    pub text: String,
}

/// A U-Boot at the other end of a console.
pub struct UBootConsole {
    console: Arc<dyn Console>,
    prompt: Regex,
    /// As it stands in the board's file.
    prompt_text: String,
    autoboot: Regex,
    interrupt: String,
    id: u32,
    /// The offset behind the prompt at which nothing is typed yet.
    at_prompt: Option<u64>,
}

fn lines(pattern: &str) -> Outcome<Regex> {
    RegexBuilder::new(pattern)
        .multi_line(true)
        .build()
        .map_err(|why| Trouble::rack(format!("talk to U-Boot: no regex: {why}")))
}

impl UBootConsole {
    pub fn new(console: Arc<dyn Console>, spec: &board::UBoot) -> Outcome<UBootConsole> {
        Ok(UBootConsole {
            console,
            prompt: lines(&spec.prompt)?,
            prompt_text: spec.prompt.clone(),
            autoboot: lines(&spec.autoboot)?,
            interrupt: spec.interrupt.clone(),
            id: 0,
            at_prompt: None,
        })
    }

    /// Forgets where U-Boot is: the board lost power or was reset.
    pub fn forget(&mut self) {
        self.at_prompt = None;
    }

    /// Presses the key from the board's first byte on until U-Boot's prompt stands there. `from` is
    /// the console's position at power-on. `Unmet` if the prompt does not come, at once if a system
    /// starts instead.
    pub async fn interrupt(&mut self, from: u64, deadline: Deadline) -> Outcome {
        self.at_prompt = None;
        let any = lines(r"(?s-u:.)")?;
        // A boot ROM that waits for a byte on its UART is left alone while it says nothing.
        if let Err(trouble) = self.console.expect(from, &any, deadline).await {
            return Err(trouble.while_doing("interrupt U-Boot"));
        }
        let started = lines(&format!("^(.*\\] )?({STARTED})"))?;
        let mut presses = 0;
        while !self.prompt_shows() {
            if deadline.passed() {
                return Err(self.missed(from, &format!("no prompt came within {deadline}")));
            }
            presses += 1;
            // A new prompt now and then: a message of somebody else may have hidden the first.
            let key = if presses % 32 == 0 { typing::DROP } else { &self.interrupt };
            self.send(key, deadline).await?;
            match self.console.expect(from, &started, deadline.or_sooner(PRESS_EVERY)).await {
                Ok(_) => return Err(self.missed(from, "a system starts already")),
                Err(Trouble::Unmet(_)) => {}
                Err(other) => return Err(other),
            }
        }
        // What was pressed too often stands at the prompt, or is on its way there.
        self.settle(deadline).await
    }

    /// Whether the last line is the prompt, with keys behind it that were pressed too often.
    fn prompt_shows(&self) -> bool {
        let mut line = self.console.tail(1).pop().unwrap_or_default();
        loop {
            if self.prompt.is_match(line.as_bytes()) {
                return true;
            }
            match line.strip_suffix(&self.interrupt) {
                Some(rest) if !rest.is_empty() => line = rest.to_string(),
                _ => return false,
            }
        }
    }

    fn missed(&self, from: u64, what: &str) -> Trouble {
        let all = self.console.read(from, MOST as usize).unwrap_or_default();
        let counted = self.autoboot.is_match(clean(&all).as_bytes());
        let countdown = if counted { "was seen" } else { "was not seen" };
        Trouble::unmet(format!(
            "interrupt U-Boot: {what}, and its countdown {countdown}; the console's last lines: {}",
            self.last()
        ))
    }

    fn last(&self) -> String {
        let lines: Vec<String> = self.console.tail(4).iter().map(|line| short(line)).collect();
        if lines.is_empty() { "none".into() } else { lines.join(" / ") }
    }

    async fn send(&self, text: &str, deadline: Deadline) -> Outcome {
        deadline.bound("writing to the console", self.console.send(text.as_bytes())).await
    }

    /// Runs a line and waits for its end. Several commands may stand in it, but no comment. The
    /// status is what `$?` says afterwards; a status that is not 0 is no trouble here.
    pub async fn command(&mut self, line: &str, deadline: Deadline) -> Outcome<Said> {
        self.id += 1;
        let id = self.id;
        let line = line.trim_end_matches([' ', ';']);
        let told =
            |trouble: Trouble| trouble.while_doing(format!("run `{}` in U-Boot", short(line)));
        self.ready(deadline).await.map_err(told)?;
        // A variable of the shell, not of the environment: nobody saves it.
        let then = format!("hilrc=$?; echo \"~u{id}:${{hilrc}}~\"");
        let typed = if line.is_empty() { then.clone() } else { format!("{line}; {then}") };
        let begin = self.enter(&typed, deadline).await.map_err(told)?;
        let (status, end) = self.answer(id, begin, deadline).await.map_err(told)?;
        let prompt = self.console.expect(end.end, &self.prompt, deadline).await.map_err(told)?;
        self.at_prompt = Some(prompt.end);
        let length = (end.start - begin).min(MOST) as usize;
        let text = clean(&self.console.read(begin, length)?);
        // The line end of what was typed, and that of the last line of output.
        let text = text.strip_prefix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok(Said { status, text: text.to_string() })
    }

    /// The status of command `id` and where the answer stands. A damaged answer is asked for again.
    async fn answer(&mut self, id: u32, begin: u64, deadline: Deadline) -> Outcome<(i32, Match)> {
        let mark = lines(&format!("~u{id}:([0-9]*)~"))?;
        loop {
            let before = self.console.position();
            match self.console.expect(begin, &mark, deadline.or_sooner(SILENCE)).await {
                Ok(found) => {
                    let status = found.groups.get(1).and_then(|digits| digits.parse().ok());
                    return match status {
                        Some(status) => Ok((status, found)),
                        None => Err(Trouble::rack(
                            "this U-Boot knows no exit status: its shell is not hush \
                             (CONFIG_HUSH_PARSER)",
                        )),
                    };
                }
                Err(Trouble::Unmet(why)) if deadline.passed() => return Err(Trouble::Unmet(why)),
                Err(Trouble::Unmet(_)) => {}
                Err(other) => return Err(other),
            }
            let silent = self.console.position() == before;
            let last = self.console.tail(1).pop().unwrap_or_default();
            // `tail` cuts the space that ends a prompt off or leaves it: the regex takes either.
            if silent && self.prompt.is_match(last.as_bytes()) {
                self.at_prompt = Some(before);
                self.enter(&format!("echo \"~u{id}:${{hilrc}}~\""), deadline).await?;
            }
        }
    }

    /// Runs a line that must succeed; what it printed.
    pub async fn run(&mut self, line: &str, deadline: Deadline) -> Outcome<String> {
        let said = self.command(line, deadline).await?;
        if said.status == 0 {
            return Ok(said.text);
        }
        let last: Vec<&str> = said.text.lines().rev().take(4).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join(" / ");
        let (line, status) = (short(line), said.status);
        Err(Trouble::unmet(format!("U-Boot's `{line}` ended with status {status}: {last}")))
    }

    /// Sets a variable, or removes it if the value is empty. Read back: a line may be damaged.
    pub async fn setenv(&mut self, name: &str, value: &str, deadline: Deadline) -> Outcome {
        // U-Boot's hush takes a backslash for an escape even between single quotes.
        let quoted = value.replace('\\', r"\\").replace('\'', r"'\''");
        let line = match value {
            "" => format!("setenv {name}"),
            _ => format!("setenv {name} '{quoted}'"),
        };
        self.run(&line, deadline).await?;
        let now = self.getenv(name, deadline).await?;
        if now.as_deref().unwrap_or("") == value {
            return Ok(());
        }
        let now = now.unwrap_or_default();
        Err(Trouble::unmet(format!("U-Boot's {name} is `{now}` after it was set to `{value}`")))
    }

    /// The value of a variable, if it is set.
    pub async fn getenv(&mut self, name: &str, deadline: Deadline) -> Outcome<Option<String>> {
        let said = self.command(&format!("printenv {name}"), deadline).await?;
        let value = said.text.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
        Ok(value.filter(|_| said.status == 0).map(String::from))
    }

    /// Types a line that does not come back to the prompt: `boot`, `ums 0 mmc 0`. The offset behind
    /// its echo.
    pub async fn launch(&mut self, line: &str, deadline: Deadline) -> Outcome<u64> {
        self.ready(deadline).await?;
        let begin = self.enter(line, deadline).await?;
        self.at_prompt = None;
        Ok(begin)
    }

    /// Sets variables (a slot's, say), runs a line, and waits until a system starts: until the
    /// regex `started` is seen, [`STARTED`] for one. `Unmet` if the prompt comes back instead.
    pub async fn boot(
        &mut self,
        variables: &[(&str, &str)],
        line: &str,
        started: &str,
        deadline: Deadline,
    ) -> Outcome<Match> {
        for (name, value) in variables {
            self.setenv(name, value, deadline).await?;
        }
        let begin = self.launch(line, deadline).await?;
        let signs = lines(&format!("({started})|{}", self.prompt_text))?;
        let found = self.console.expect(begin, &signs, deadline).await?;
        if found.groups.get(1).is_some_and(|started| !started.is_empty()) {
            return Ok(found);
        }
        let last = self.last();
        Err(Trouble::unmet(format!("U-Boot's `{line}` came back to the prompt: {last}")))
    }

    /// Resets the board and stops its countdown again.
    pub async fn reset(&mut self, deadline: Deadline) -> Outcome {
        let from = self.launch("reset", deadline).await?;
        self.interrupt(from, deadline).await
    }
}

/// A line for a message.
fn short(line: &str) -> String {
    let line = line.trim_end();
    match line.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_string(),
    }
}

/// A stretch of the stream as text with `\n` for every line end.
fn clean(raw: &[u8]) -> String {
    let mut lines = vec![Vec::new()];
    Cleaner::new(false).clean(0, raw, |piece| match piece {
        Piece::Text(_, run) => {
            if let Some(line) = lines.last_mut() {
                line.extend_from_slice(run);
            }
        }
        Piece::Newline(_) => lines.push(Vec::new()),
    });
    lines.iter().map(|line| ansi::text(line)).collect::<Vec<_>>().join("\n")
}
