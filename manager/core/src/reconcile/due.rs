//! When what wants to be looked at again.

use std::collections::{BTreeMap, BTreeSet};

use skep_common::clock::Timestamp;

use crate::{Extent, Scope, plan::Concern};

/// Moments by what they are for, and in their order. Invariant: both say the same.
#[derive(Debug, Default)]
pub(super) struct Due {
    by_concern: BTreeMap<Concern, Timestamp>,
    in_order: BTreeSet<(Timestamp, Concern)>,
}

impl Due {
    pub(super) fn set(&mut self, concern: Concern, at: Timestamp) {
        self.remove(&concern);
        self.in_order.insert((at, concern.clone()));
        self.by_concern.insert(concern, at);
    }

    /// The next moment.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Moves what is due into the scope.
    pub(super) fn take(&mut self, now: Timestamp, scope: &mut Scope) {
        while let Some((_, concern)) = self.in_order.first().filter(|(at, _)| *at <= now) {
            let concern = concern.clone();
            self.remove(&concern);
            match concern.slot {
                None => scope.add(&concern.service),
                Some(slot) => scope.add_slot(&concern.service, slot),
            }
        }
    }

    /// Drops what is in a scope: it was looked at.
    pub(super) fn forget(&mut self, scope: &Scope) {
        let Scope::Services(services) = scope else { return *self = Self::default() };
        for (service, extent) in services {
            let all = Concern { service: service.clone(), slot: None };
            match extent {
                Extent::Whole => {
                    let of_service = self.by_concern.range(all..).map(|(concern, _)| concern);
                    let concerns: Vec<_> = of_service.take_while(|it| it.service == *service).cloned().collect();
                    concerns.iter().for_each(|concern| self.remove(concern));
                }
                Extent::Slots(slots) => {
                    for slot in slots {
                        self.remove(&Concern { slot: Some(slot.clone()), ..all.clone() });
                    }
                }
            }
        }
    }

    fn remove(&mut self, concern: &Concern) {
        if let Some(at) = self.by_concern.remove(concern) {
            self.in_order.remove(&(at, concern.clone()));
        }
    }
}
