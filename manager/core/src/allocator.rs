//! NEW → PENDING.

#![expect(clippy::unimplemented, reason = "the API first")]

use skep_common::clock::Timestamp;
use skep_store::View;

use crate::Plan;

/// Plans for all NEW tasks.
pub fn plan(_view: &View, _now: Timestamp) -> Plan {
    unimplemented!()
}
