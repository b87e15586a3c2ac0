//! Shelly: first generation (`/relay/0?turn=on`), and second and later (`/rpc/Switch.Set`)
//! (<https://shelly-api-docs.shelly.cloud>).

use hil_core::deadline::Deadline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{PATIENCE, Switch, failure};
use super::{Answer, Login, get_logged_in};
use crate::error::DriverError;

/// `[power.shelly]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shelly {
    /// `http://host[:port]`.
    pub url: String,
    /// From 0.
    #[serde(default)]
    pub channel: u8,
    /// 1, or 2 for the second and all later ones (Plus, Pro, Gen3, Gen4).
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 2))]
    pub generation: u8,
    /// Where it asks for one; the user of later generations is always `admin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

fn two() -> u8 {
    2
}

impl Shelly {
    /// A request of this generation, and the field of its answer that tells the state.
    fn ask(&self, path: &str, field: &str, deadline: &Deadline) -> Result<bool, String> {
        let answer = get_logged_in(&self.url, path, self.login.as_ref(), deadline)?;
        if answer.status != 200 {
            return Err(self.refused(&answer));
        }
        let told = answer.json()?;
        let state = told.get(field).and_then(serde_json::Value::as_bool);
        state.ok_or_else(|| answer.unexpected(&format!("`{field}`")))
    }

    fn refused(&self, answer: &Answer) -> String {
        let other = 3 - self.generation.clamp(1, 2);
        let said = failure::quote(&answer.body);
        match answer.status {
            404 => format!(
                "it knows no such relay (HTTP status 404, {said}): is `channel` right, which \
                 counts from 0, or is it of `generation = {other}`?"
            ),
            // JSON-RPC errors: -105 is an argument, here the channel.
            500 if answer.body.contains("-105") => {
                format!("it has no channel {}: {said}", self.channel)
            }
            status => format!("it answered with HTTP status {status}: {said}"),
        }
    }

    fn state(&self, deadline: &Deadline) -> Result<bool, String> {
        match self.generation {
            1 => self.ask(&format!("/relay/{}", self.channel), "ison", deadline),
            2 => {
                let path = format!("/rpc/Switch.GetStatus?id={}", self.channel);
                self.ask(&path, "output", deadline)
            }
            other => Err(format!("`generation` is {other}; it is 1, or 2 for all later ones")),
        }
    }

    fn switch(&self, on: bool) -> Result<(), String> {
        let deadline = Deadline::within(PATIENCE);
        let state = if self.generation == 1 {
            let path = format!("/relay/{}?turn={}", self.channel, failure::word(on));
            self.ask(&path, "ison", &deadline)?
        } else {
            // The answer tells only how it was before.
            let path = format!("/rpc/Switch.Set?id={}&on={on}", self.channel);
            self.ask(&path, "was_on", &deadline)?;
            self.state(&deadline)?
        };
        let stays = || format!("it answers that it is {}", failure::word(state));
        if state == on { Ok(()) } else { Err(stays()) }
    }
}

impl Switch for Shelly {
    fn label(&self) -> String {
        format!("Shelly relay {} at {}", self.channel, self.url)
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        failure::set(&self.label(), on, self.switch(on))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        failure::get(&self.label(), self.state(&Deadline::within(PATIENCE)).map(Some))
    }
}
