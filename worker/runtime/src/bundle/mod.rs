//! Turns a specification and an image into what a shim runs: an OCI bundle and a plan.
//!
//! Pure but for [`BundleFiles::write`]: the same input gives the same bundle, and every refusal comes before a file is
//! written. The values a plain `docker run` would get are Docker's, named where they stand.

mod accounts;
mod capabilities;
mod etc;
mod filters;
mod process;
mod resources;
mod seccomp;
mod spec;
mod write;

pub(crate) use self::{
    accounts::Accounts,
    filters::Filters,
    process::Process,
    write::{BundleFiles, BundlePaths, ETC_FILES, Host, LOG},
};

use crate::RuntimeError;

fn invalid(reason: impl Into<String>) -> RuntimeError {
    RuntimeError::InvalidSpecification(reason.into())
}
