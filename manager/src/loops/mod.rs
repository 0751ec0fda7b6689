//! The leader's components, each a decision of `skep-core` in a [`Reconciler`](crate::drive::Reconciler).

mod allocator;
mod cron;
mod orchestrator;
mod reaper;
mod roles;
mod scheduler;
mod scoped;

pub(crate) use allocator::Allocator;
pub(crate) use cron::Cron;
pub(crate) use orchestrator::Orchestrator;
pub(crate) use reaper::Reaper;
pub(crate) use roles::Roles;
pub(crate) use scheduler::Scheduler;
pub(crate) use scoped::Scoped;
