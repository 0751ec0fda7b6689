//! the manager: one LeaderTerm owning a thin loop per component, and the services of port 2377.
