//! consensus: the only crate that names openraft and redb.
