//! Forgets tasks that ended and gives up those that are lost.

#![expect(clippy::unimplemented, reason = "the API first")]

use skep_common::clock::Timestamp;
use skep_store::View;

use crate::{Plan, Scope};

/// Plans for the tasks of the services in `scope`.
pub fn plan(_view: &View, _scope: &Scope, _now: Timestamp) -> Plan {
    unimplemented!()
}
