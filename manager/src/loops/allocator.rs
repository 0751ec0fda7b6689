//! Gives new tasks what they need before they can be placed: NEW → PENDING.

use skep_common::clock::Timestamp;
use skep_core::{Plan, allocator};
use skep_proto::v1::ObjectKind;
use skep_store::{Selector, View};

use crate::drive::Reconciler;

pub(crate) struct Allocator;

impl Reconciler for Allocator {
    const NAME: &'static str = "allocator";

    fn watches(&self) -> Selector {
        Selector::Kinds(vec![ObjectKind::Task])
    }

    fn plan(&mut self, view: &View, now: Timestamp) -> Plan {
        allocator::plan(view, now)
    }
}
