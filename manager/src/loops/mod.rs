//! The leader's components that reach beyond the state. Those that need nothing else are
//! [`skep_core::reconcile`]'s.

mod roles;

pub(crate) use roles::Roles;
