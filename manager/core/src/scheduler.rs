//! PENDING → ASSIGNED.

#![expect(clippy::unimplemented, reason = "the API first")]

use skep_common::clock::Timestamp;
use skep_store::View;

use crate::Plan;

/// Places all PENDING tasks that can be placed, and writes on the others why not.
pub fn plan(_view: &View, _now: Timestamp) -> Plan {
    unimplemented!()
}
