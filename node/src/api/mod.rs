//! The Docker Engine API: axum handlers over the traits of [`backend`].

pub mod backend;
