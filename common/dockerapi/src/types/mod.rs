//! What travels, written from Docker's Go structs (moby `api/types`): names, what is left out when empty, what is
//! always there. A field Docker has and this list lacks is one skep does not do: [`crate::decode`] refuses it.
//!
//! Words like `running` or `on-failure` stay strings here; [`crate::convert`] checks them.

mod container;
mod event;
mod generic;
mod image;
mod job_run;
mod network;
mod node;
mod reasons;
mod revisions;
mod service;
mod spec;
mod swarm;
mod system;
mod task;

use serde::{Deserialize, Serialize};

pub use self::{
    container::*, event::*, generic::*, image::*, job_run::*, network::*, node::*, reasons::*, revisions::*,
    service::*, spec::*, swarm::*, system::*, task::*,
};

/// Every error's body.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong.
    pub message: String,
}

/// The version of an object, to be sent back with an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    /// The number.
    #[serde(skip_serializing_if = "zero")]
    pub index: u64,
}

/// `{"ID": …}`: what create calls answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Created {
    /// Id of what was made.
    #[serde(rename = "ID")]
    pub id: String,
    /// What the user should know.
    #[serde(rename = "Warnings", skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What update calls answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Updated {
    /// What the user should know; `null` when nothing.
    pub warnings: Option<Vec<String>>,
}

/// `{}`: there, and empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Empty {}

/// Go's `omitempty`.
fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `[]byte` in Go: base64 in JSON.
mod bytes {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
