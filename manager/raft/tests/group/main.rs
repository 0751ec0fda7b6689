//! Groups of managers in one process, over real connections and on real disks.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "these are tests, helpers included")]

mod cluster;
mod fate;
mod large;
mod membership;
mod support;
mod transfer;
