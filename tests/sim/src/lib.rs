//! A whole swarm in one thread, on a clock of its own: managers, agents, containers, a bad network, clumsy users.
//!
//! What decides here is what decides in the daemon: `skep-store`'s apply, `skep-core`'s planners and `skep-worker`'s
//! assignment sets and task machines. What is played is everything around them: consensus ([`raft`]), the leader's
//! loops ([`leader`]), the agent's plumbing ([`agent`]), containers ([`runtime`]), messages ([`network`]).
//!
//! A run is a function of its seed. First faults and users are let loose ([`chaos`]); after each step the [`oracle`]
//! looks for what must never be. Then everything is repaired, and within a minute the swarm must be exactly what was
//! asked for ([`health`]). [`run`] returns what went wrong first, if anything did; [`play`] runs many.
//!
//! [`run_lifecycle`] plays the other half of a node: its certificates and its manager's life, of which the swarm above knows only
//! the outcome.
//!
//! No run has everything: [`chaos`] draws what a seed is about (jobs, rebalancing, roles, partitions), so that many seeds
//! together have it all, which their [`Tally`] proves.

mod agent;
mod campaign;
mod chaos;
mod config;
mod context;
mod driver;
mod event;
mod fitness;
mod health;
mod leader;
mod lifecycle;
mod mutants;
mod network;
mod node;
mod oracle;
mod raft;
mod reporter;
mod rng;
mod runtime;
mod simulation;
mod tally;
mod trace;
mod users;

pub use campaign::{Outcome, play};
pub use config::Config;
pub use lifecycle::{Troubles, run_lifecycle};
pub use mutants::Mutant;
pub use simulation::{Failure, Report, run};
pub use tally::{Excuse, Kind, Tally};
