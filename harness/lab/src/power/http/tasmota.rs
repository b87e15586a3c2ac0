//! Tasmota: `/cm?cmnd=Power1%20On`, answered by `{"POWER1":"ON"}`
//! (<https://tasmota.github.io/docs/Commands/#with-web-requests>).

use hil_core::deadline::Deadline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{PATIENCE, Switch, failure};
use super::{Login, encode, get};
use crate::error::DriverError;

/// `[power.tasmota]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tasmota {
    /// `http://host[:port]`.
    pub url: String,
    /// From 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 32))]
    pub channel: u8,
    /// Where the web interface has a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

fn one() -> u8 {
    1
}

impl Tasmota {
    /// Sends `Power<channel>` with an argument, and reads the state that it answers.
    fn power(&self, argument: &str) -> Result<bool, String> {
        if self.channel == 0 {
            return Err("`channel` is 0, which means all of them: channels count from 1".into());
        }
        let command = format!("Power{} {argument}", self.channel);
        let mut path = format!("/cm?cmnd={}", encode(command.trim_end()));
        if let Some(login) = &self.login {
            let (user, password) = (encode(&login.user), encode(login.password.reveal()));
            path += &format!("&user={user}&password={password}");
        }
        let answer = get(&self.url, &path, None, &Deadline::within(PATIENCE))?;
        let told = answer.json()?;
        if told.get("WARNING").is_some() || answer.status == 401 {
            return Err(match &self.login {
                None => "it wants a password: add `login = { password = \"…\" }`".into(),
                Some(login) => format!("it refuses the password of `{}`", login.user),
            });
        }
        // With a single relay the number is left out.
        let state = told.get(format!("POWER{}", self.channel));
        let state = state.or_else(|| told.get("POWER").filter(|_| self.channel == 1));
        match state.and_then(serde_json::Value::as_str) {
            Some("ON") => Ok(true),
            Some("OFF") => Ok(false),
            _ => {
                let expected = format!("`POWER{}` with ON or OFF", self.channel);
                Err(format!("{}: has it a relay {}?", answer.unexpected(&expected), self.channel))
            }
        }
    }
}

impl Switch for Tasmota {
    fn label(&self) -> String {
        format!("Tasmota relay {} at {}", self.channel, self.url)
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        let done = self.power(if on { "On" } else { "Off" }).and_then(|state| {
            let stays = || format!("it answers that it is {}", failure::word(state));
            if state == on { Ok(()) } else { Err(stays()) }
        });
        failure::set(&self.label(), on, done)
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        failure::get(&self.label(), self.power("").map(Some))
    }
}
