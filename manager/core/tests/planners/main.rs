//! The planners together, on a small swarm whose nodes do at once what they are told.
//!
//! `cut` carries out a large plan part by part; `jobs` lets jobs run, by hand and by schedule; `scenarios` plays the scripts in
//! `tests/scenarios` and compares what they print; `spread` lets nodes return and counts what moves; `log` counts what a task costs the log; `properties` lets random users and random faults loose and checks
//! what must hold in every state.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod cut;
mod jobs;
mod log;
mod properties;
mod scenarios;
mod spread;
mod world;
