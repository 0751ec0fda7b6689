//! deterministic simulation of managers and agents, seeded.
