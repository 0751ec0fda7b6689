//! Objects as people read them, laid out as Docker's CLI does.

pub(crate) mod info;
pub(crate) mod node;
pub(crate) mod service;
pub(crate) mod version;
