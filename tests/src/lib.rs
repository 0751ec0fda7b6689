//! black-box tests on real processes, namespaces and the real docker CLI.
