//! ids, clocks, tokens, identity, authorization and validation shared by every crate.
