//! The tasks every service should have.

#![expect(clippy::unimplemented, reason = "the API first")]

use skep_common::{clock::Timestamp, id::Ids};
use skep_store::View;

use crate::{Plan, Scope};

/// Plans the tasks of the services in `scope`.
pub fn plan(_view: &View, _scope: &Scope, _now: Timestamp, _ids: &mut dyn Ids) -> Plan {
    unimplemented!()
}
