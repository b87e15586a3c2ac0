//! Gets to a shell from whatever state a console is in: a login prompt that shows or is yet to
//! come, a session that is open already, a half-typed line. Running commands is not done here.

use hil_core::deadline::{Deadline, Span, secs};
use hil_core::image::Login;
use hil_core::parts::{Console, Match};
use hil_core::trouble::{Outcome, Trouble};
use regex::bytes::{Regex, RegexBuilder};

/// Erases a half-typed line, in a shell as at a login prompt.
pub(crate) const ERASE: &str = "\x15";
pub(crate) const INTERRUPT: &str = "\x03";

/// How far back a prompt is looked for that shows already.
const BACK: u64 = 256;

/// Login prompts after which the login counts as refused.
const PATIENCE: u32 = 3;

/// What the shell alone can say: the echo of the typed line holds the factors, not the product.
pub(crate) struct Proof {
    line: String,
    pub(crate) answer: String,
}

impl Proof {
    pub(crate) fn new(id: u32) -> Proof {
        let (a, b) = (u64::from(id) + 1009, 7919);
        let line = format!("echo \"~p{id}:$(({a}*{b}))~\"");
        Proof { line, answer: format!("~p{id}:{}~", a * b) }
    }

    /// What is to be typed, behind whatever is half typed.
    pub(crate) fn typed(&self) -> String {
        format!("{ERASE}{}\n", self.line)
    }
}

/// What stands at the end of the console's output.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sign {
    Proof,
    Login,
    Password,
    Shell,
}

pub(crate) struct Entry<'e> {
    console: &'e dyn Console,
    login: &'e Login,
    proof: Proof,
    signs: Regex,
    /// Everything before it has been answered.
    cursor: u64,
    users: u32,
    pokes: u32,
    last: &'static str,
}

impl<'e> Entry<'e> {
    /// `floor`: output before it belongs to an earlier boot. `id` is new for every entry.
    pub(crate) fn new(
        console: &'e dyn Console,
        login: &'e Login,
        floor: u64,
        id: u32,
    ) -> Outcome<Entry<'e>> {
        let proof = Proof::new(id);
        let signs = format!(
            "(?P<p_>{})|(?P<l_>{})|(?P<w_>{})|(?P<s_>{})",
            proof.answer, login.prompt, login.password_prompt, login.shell
        );
        let signs = RegexBuilder::new(&signs).dfa_size_limit(512 << 10).build();
        let signs = signs.map_err(|why| Trouble::rack(format!("a prompt is no regex: {why}")))?;
        let cursor = console.position().saturating_sub(BACK).max(floor);
        let last = "no prompt was seen";
        Ok(Entry { console, login, proof, signs, cursor, users: 0, pokes: 0, last })
    }

    /// Ends with a shell that has proved to be one; returns the offset behind the proof.
    pub(crate) async fn enter(mut self, deadline: Deadline) -> Outcome<u64> {
        loop {
            match self.sign(deadline).await? {
                Some((Sign::Proof, at)) => return Ok(at.end),
                Some((sign, at)) => {
                    self.cursor = at.end;
                    self.answer(sign, deadline).await?;
                }
                None if deadline.passed() => return Err(self.missed(deadline)),
                None => self.poke(deadline).await?,
            }
        }
    }

    /// The next sign, or none after the console has said nothing new for a while.
    async fn sign(&self, deadline: Deadline) -> Outcome<Option<(Sign, Match)>> {
        // Long enough for the seconds of a boot loader's countdown, which a key would stop.
        let quiet = secs(2) * (1 + self.pokes.min(3));
        for _ in 0..3 {
            let before = self.console.position();
            let sooner = deadline.or_sooner(quiet);
            match self.console.expect(self.cursor, &self.signs, sooner).await {
                Ok(found) => return Ok(self.read(&found).map(|sign| (sign, found))),
                Err(Trouble::Unmet(_)) if deadline.passed() => break,
                // A console that keeps talking may yet come to a prompt, but not for ever.
                Err(Trouble::Unmet(_)) if self.console.position() > before => {}
                Err(Trouble::Unmet(_)) => break,
                Err(other) => return Err(other),
            }
        }
        Ok(None)
    }

    fn read(&self, found: &Match) -> Option<Sign> {
        let signs =
            [("p_", Sign::Proof), ("l_", Sign::Login), ("w_", Sign::Password), ("s_", Sign::Shell)];
        let hit = |name: &str| {
            let nth = self.signs.capture_names().position(|group| group == Some(name));
            nth.and_then(|nth| found.groups.get(nth)).is_some_and(|group| !group.is_empty())
        };
        signs.into_iter().find(|(name, _)| hit(name)).map(|(_, sign)| sign)
    }

    async fn answer(&mut self, sign: Sign, deadline: Deadline) -> Outcome {
        match sign {
            Sign::Proof => Ok(()),
            Sign::Login => {
                let Some(user) = &self.login.user else {
                    return Err(Trouble::rack(
                        "the console asks for a login; give `user` under [login] in image.toml",
                    ));
                };
                if self.users == PATIENCE {
                    return Err(Trouble::product(format!(
                        "login as `{user}` was refused on the console {PATIENCE} times; check \
                         user and password under [login] in image.toml"
                    )));
                }
                self.users += 1;
                self.last = "the login prompt came last";
                self.say(&format!("{user}\n"), deadline).await
            }
            Sign::Password => {
                let Some(password) = &self.login.password else {
                    return Err(Trouble::rack(
                        "the console asks for a password; give `password` under [login] in \
                         image.toml",
                    ));
                };
                self.last = "the password prompt came last";
                self.say(&format!("{password}\n"), deadline).await
            }
            Sign::Shell => {
                self.last = "something like a shell prompt came, but no shell answered";
                self.say(&self.proof.typed(), deadline).await
            }
        }
    }

    /// Makes a console that says nothing we know show where it is.
    async fn poke(&mut self, deadline: Deadline) -> Outcome {
        self.pokes += 1;
        match self.pokes % 4 {
            1 => self.say(&format!("{ERASE}\n"), deadline).await,
            // An unclosed quote or a program in the foreground needs more than a new line.
            3 => self.say(&format!("{INTERRUPT}{ERASE}\n"), deadline).await,
            _ => self.say(&self.proof.typed(), deadline).await,
        }
    }

    async fn say(&self, text: &str, deadline: Deadline) -> Outcome {
        deadline.bound("writing to the console", self.console.send(text.as_bytes())).await
    }

    fn missed(&self, deadline: Deadline) -> Trouble {
        let tail = self.console.tail(3).join(" / ");
        let said = match tail.is_empty() {
            true => "the console is silent".to_string(),
            false => format!("its last lines: {tail}"),
        };
        let span = Span(deadline.span());
        Trouble::unmet(format!("no shell on the console within {span}: {}; {said}", self.last))
    }
}
