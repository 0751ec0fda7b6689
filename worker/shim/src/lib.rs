//! one single-threaded process per container; the only user of libcontainer.
