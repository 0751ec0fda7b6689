//! Gives up what a container's command must not have: system calls, then capabilities.
//!
//! This order, because loading a filter takes a privilege and giving up privileges takes none that the filter denies.
//! libcontainer would compile the profile anew for every container; so its own way of doing both is left out of the
//! bundle and this takes its place, at the same point: isolated, as the right user, before the command.

use std::io;

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities,
    },
};
use serde::{Deserialize, Serialize};

use crate::sys;

/// What is left to a container's command. Capabilities are sets of bits, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privileges {
    /// Capabilities it can ever have.
    pub bounding: u64,
    /// Capabilities it starts with.
    pub effective: u64,
    /// Its system calls, as [`crate::seccomp::compile`] gives them, in hexadecimal.
    pub seccomp: String,
}

impl Privileges {
    /// Gives up the rest, for good.
    pub(crate) fn drop_to(&self) -> io::Result<()> {
        let filter = hex::decode(&self.seccomp).map_err(io::Error::other)?;
        sys::load_seccomp_filter(&filter)?;
        clear_ambient_capability_set()?;
        for number in 0..u64::BITS {
            if self.bounding & (1 << number) != 0 {
                continue;
            }
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
                Ok(()) => {}
                // The kernel knows none of this number, nor of any higher.
                Err(Errno::INVAL) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let left = CapabilitySet::from_bits_retain(self.effective);
        let sets = CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() };
        Ok(set_capabilities(None, sets)?)
    }
}
