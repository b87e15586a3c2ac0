//! Typing a line at U-Boot's prompt so that it arrives: each piece is sent once the echo of the one
//! before is seen, and a line whose echo is damaged is dropped and typed again.

use std::time::Duration;

use hil_core::deadline::{Deadline, secs};
use hil_core::trouble::{Outcome, Trouble};
use regex::bytes::Regex;

use super::{UBootConsole, lines};

/// The FIFO of the smallest UARTs.
const PIECE: usize = 16;

/// How long an echo may take: a line at 1200 baud, or a busy emulator.
const ECHO: Duration = secs(2);

const TRIES: u32 = 4;

/// Drops what is typed; U-Boot shows a new prompt.
pub(super) const DROP: &str = "\x03";

impl UBootConsole {
    /// Stands at a prompt with nothing typed.
    pub(super) async fn ready(&mut self, deadline: Deadline) -> Outcome {
        match self.at_prompt {
            Some(_) => Ok(()),
            None => self.settle(deadline).await,
        }
    }

    /// Drops what is typed and proves by an echoed word that U-Boot listens: prompts on their way
    /// are told from the one that stands.
    pub(super) async fn settle(&mut self, deadline: Deadline) -> Outcome {
        self.id += 1;
        // Two words, so that the echo of the line does not prove anything.
        let line = format!("echo \"~s\"\"{}~\"", self.id);
        let proof = lines(&format!("~s{}~", self.id))?;
        for _ in 0..TRIES {
            if let Some(at) = self.prove(&line, &proof, deadline).await? {
                self.at_prompt = Some(at);
                return Ok(());
            }
        }
        let last = self.last();
        Err(Trouble::unmet(format!("U-Boot does not answer; the console's last lines: {last}")))
    }

    /// One try; the offset behind the prompt after the proof.
    async fn prove(&self, line: &str, proof: &Regex, deadline: Deadline) -> Outcome<Option<u64>> {
        let soon = || deadline.or_sooner(ECHO);
        let from = self.console.position();
        self.send(DROP, deadline).await?;
        let tried = async {
            let prompt = self.console.expect(from, &self.prompt, soon()).await?;
            let Some(typed) = self.type_once(line, prompt.end, deadline).await? else {
                return Ok(None);
            };
            self.send("\r", deadline).await?;
            let found = self.console.expect(typed, proof, soon()).await?;
            let prompt = self.console.expect(found.end, &self.prompt, soon()).await?;
            Ok(Some(prompt.end))
        };
        match tried.await {
            Err(Trouble::Unmet(_)) if !deadline.passed() => Ok(None),
            other => other,
        }
    }

    /// Types a line and ends it; the offset behind its echo.
    pub(super) async fn enter(&mut self, line: &str, deadline: Deadline) -> Outcome<u64> {
        if line.chars().any(char::is_control) {
            return Err(Trouble::rack(format!("type {line:?} to U-Boot: it is not one line")));
        }
        for _ in 0..TRIES {
            let from = self.at_prompt.take().unwrap_or_else(|| self.console.position());
            if let Some(end) = self.type_once(line, from, deadline).await? {
                self.send("\r", deadline).await?;
                return Ok(end);
            }
            let from = self.console.position();
            self.send(DROP, deadline).await?;
            let prompt = self.console.expect(from, &self.prompt, deadline).await?;
            self.at_prompt = Some(prompt.end);
        }
        Err(Trouble::unmet(format!(
            "U-Boot did not echo a line of {} characters as it was typed, {TRIES} times: the line \
             loses bytes, or the line is longer than this U-Boot takes (CONFIG_SYS_CBSIZE); the \
             console's last lines: {}",
            line.len(),
            self.last()
        )))
    }

    /// None if an echo did not come.
    async fn type_once(
        &self,
        line: &str,
        mut from: u64,
        deadline: Deadline,
    ) -> Outcome<Option<u64>> {
        let chars: Vec<char> = line.chars().collect();
        for piece in chars.chunks(PIECE) {
            let piece: String = piece.iter().collect();
            self.send(&piece, deadline).await?;
            let echo = lines(&regex::escape(&piece))?;
            match self.console.expect(from, &echo, deadline.or_sooner(ECHO)).await {
                Ok(found) => from = found.end,
                Err(Trouble::Unmet(why)) if deadline.passed() => return Err(Trouble::Unmet(why)),
                Err(Trouble::Unmet(_)) => return Ok(None),
                Err(other) => return Err(other),
            }
        }
        Ok(Some(from))
    }
}
