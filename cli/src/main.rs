//! The one binary: commands, daemon and shim.
fn main() {}
