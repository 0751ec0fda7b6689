//! every decision of the swarm, as pure functions.
