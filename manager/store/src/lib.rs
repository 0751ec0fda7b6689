//! the replicated state: tables, indexes, transactions, snapshots and watches; no I/O.
