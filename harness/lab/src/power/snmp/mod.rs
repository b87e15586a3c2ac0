//! Outlets of SNMP PDUs: APC's, and any other by its OIDs. The configuration is here; what goes
//! over the wire is in [`session`].

mod session;

use hil_core::deadline::Deadline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::{PATIENCE, Switch, failure};
use crate::error::DriverError;

/// `[power.snmp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snmp {
    /// `host[:port]`; the port is 161 when left out.
    pub address: String,
    /// Which outlet, by its model's own way: `{ apc = 3 }`.
    pub outlet: Outlet,
    /// Version and credentials: `{ v1 = "private" }` when left out.
    #[serde(default)]
    pub access: Access,
}

/// How an outlet is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outlet {
    /// Number of an outlet of an APC rack PDU (AP7xxx, AP8xxx): PowerNet-MIB
    /// rPDUOutletControlOutletCommand.
    Apc(u32),
    /// Number of an outlet of an APC MasterSwitch (AP9xxx): PowerNet-MIB sPDUOutletCtl.
    ApcMasterswitch(u32),
    /// Any object that takes an integer.
    Oid(Objects),
}

/// The objects that switch an outlet and tell its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `set`, and maybe `get`")]
pub struct Objects {
    pub set: Object,
    /// Where the state is told by another object, or in other numbers. Left out: by the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub get: Option<Object>,
}

/// An integer object, and its two values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `oid`, `on` and `off`")]
pub struct Object {
    /// In numbers, down to the outlet: `1.3.6.1.4.1.…`.
    pub oid: String,
    pub on: i64,
    pub off: i64,
}

/// SNMP version and credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Access {
    /// The write community.
    V1(Secret),
    /// The write community.
    V2c(Secret),
    V3(User),
}

impl Access {
    pub(super) fn secrets(&self) -> Vec<&Secret> {
        match self {
            Access::V1(community) | Access::V2c(community) => vec![community],
            Access::V3(user) => {
                let privacy = user.privacy.iter().map(|privacy| &privacy.password);
                [&user.password].into_iter().chain(privacy).collect()
            }
        }
    }
}

impl Default for Access {
    fn default() -> Access {
        Access::V1(Secret::new("private"))
    }
}

/// A user of SNMP version 3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `user`, `auth`, `password`, and maybe `privacy` and `context`"
)]
pub struct User {
    pub user: String,
    pub auth: Auth,
    pub password: Secret,
    /// Left out: messages are signed, but not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub context: String,
}

/// How a version 3 message is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// How a version 3 message is encrypted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `cipher` and `password`")]
pub struct Privacy {
    pub cipher: Cipher,
    pub password: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cipher {
    Des,
    Aes128,
    Aes192,
    Aes256,
}

/// PowerNet-MIB: immediateOn (1), immediateOff (2); read, the state in the same numbers.
const RACK_PDU: &str = "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4";
/// PowerNet-MIB: outletOn (1), outletOff (2); read, the state in the same numbers.
const MASTERSWITCH: &str = "1.3.6.1.4.1.318.1.1.4.4.2.1.3";

impl Outlet {
    /// The object to write, and the one to read.
    fn objects(&self) -> Result<(Object, Object), String> {
        let apc = |column: &str, outlet: u32| -> Result<Object, String> {
            let object = Object { oid: format!("{column}.{outlet}"), on: 1, off: 2 };
            if outlet == 0 { Err("outlets count from 1".into()) } else { Ok(object) }
        };
        let object = match self {
            Outlet::Apc(outlet) => apc(RACK_PDU, *outlet)?,
            Outlet::ApcMasterswitch(outlet) => apc(MASTERSWITCH, *outlet)?,
            Outlet::Oid(objects) => {
                let get = objects.get.as_ref().unwrap_or(&objects.set);
                return Ok((objects.set.clone(), get.clone()));
            }
        };
        Ok((object.clone(), object))
    }

    fn label(&self) -> String {
        match self {
            Outlet::Apc(outlet) | Outlet::ApcMasterswitch(outlet) => format!("outlet {outlet}"),
            Outlet::Oid(objects) => objects.set.oid.clone(),
        }
    }
}

impl Snmp {
    fn write(&self, on: bool) -> Result<(), String> {
        let (object, _) = self.outlet.objects()?;
        let value = if on { object.on } else { object.off };
        session::write(self, &object.oid, value, &Deadline::within(PATIENCE))
    }

    fn read(&self) -> Result<bool, String> {
        let (_, object) = self.outlet.objects()?;
        match session::read(self, &object.oid, &Deadline::within(PATIENCE))? {
            value if value == object.on => Ok(true),
            value if value == object.off => Ok(false),
            value => Err(format!(
                "{} is {value}, neither {} for on nor {} for off",
                object.oid, object.on, object.off
            )),
        }
    }
}

impl Switch for Snmp {
    fn label(&self) -> String {
        format!("{} of the PDU at {}", self.outlet.label(), self.address)
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        failure::set(&self.label(), on, self.write(on))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        failure::get(&self.label(), self.read().map(Some))
    }
}
