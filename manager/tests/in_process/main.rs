//! Whole managers on loopback: one and three of them, real TLS, and agents that follow a script.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails here fails a test")]

mod identity;
mod jobs;
mod levels;
mod logs;
mod managers;
mod reasons;
mod revisions;
mod services;
mod support;
