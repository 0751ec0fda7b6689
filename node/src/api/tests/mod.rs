//! The API as a client sees it: every route over fakes, held against a real engine's answers.

mod admission;
mod cli;
mod errors;
mod parameters;
mod routes;
mod server;
mod streams;
