//! What is left to containers of root's privileges, each seccomp filter compiled once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use skep_proto::v1::ContainerSpec;
use skep_shim::privileges::Privileges;

use super::{capabilities, seccomp, write::Host};
use crate::RuntimeError;

/// Compiled filters by the set of capabilities, of which a node sees a handful.
#[derive(Debug, Default)]
pub(crate) struct Filters(Mutex<HashMap<u64, String>>);

impl Filters {
    /// The privileges of a container whose first process runs as user `uid`.
    pub(super) fn privileges(&self, spec: &ContainerSpec, uid: u32, host: &Host) -> Result<Privileges, RuntimeError> {
        let set = capabilities::resolve(&spec.capability_add, &spec.capability_drop, host.last_capability)?;
        let bounding = capabilities::bits(&set);
        // What execve would take from another user anyway is not given to it in the first place.
        let effective = if uid == 0 { bounding } else { 0 };
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = known().get(&bounding).cloned();
        let seccomp = match compiled {
            Some(filter) => filter,
            None => {
                let filter = seccomp::filter(&set)?;
                known().insert(bounding, filter.clone());
                filter
            }
        };
        Ok(Privileges { bounding, effective, seccomp })
    }
}
