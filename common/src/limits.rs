//! Every bound and default that more than one crate must agree on, each with its reason.
//! Times people can change per swarm are defaults here; the value in force is in the cluster's spec.

use std::time::Duration;

// ---- sizes -------------------------------------------------------------------------------------

/// Largest message a server reads. Nothing a peer sends legitimately comes near: specs are at most
/// [`MAX_SPEC_BYTES`], Raft batches and snapshot chunks are cut to fit.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;

/// Largest request of a peer without a certificate: a signing request and a join token.
pub const MAX_STRANGERS_REQUEST_BYTES: usize = 16 << 10;

/// Largest message a client reads: lists of objects from an authenticated manager.
pub const MAX_REPLY_BYTES: usize = 64 << 20;

/// Largest encoded service, node or cluster spec.
pub const MAX_SPEC_BYTES: usize = 1 << 20;

/// Largest encoded transaction: one log entry. Leaves room in [`MAX_REQUEST_BYTES`] for what surrounds it.
pub const MAX_TRANSACTION_BYTES: usize = 3 << 20;

/// Actions in one transaction; a plan that needs more comes in several.
pub const MAX_TRANSACTION_ACTIONS: usize = 500;

/// Payload of one snapshot chunk.
pub const SNAPSHOT_CHUNK_BYTES: usize = 512 << 10;

/// Bytes of tasks in one message of assignments; a larger task goes alone. Leaves room in [`MAX_REQUEST_BYTES`], which is
/// also what a client reads unless it asks for more.
pub const ASSIGNMENTS_BYTES: usize = 1 << 20;

/// Status reports in one `UpdateTaskStatus`.
pub const MAX_STATUS_BATCH: usize = 500;

/// Bytes of objects in one page of a list; an object goes alone if need be. Leaves room for the largest object in
/// [`MAX_REQUEST_BYTES`], which is what any client takes.
pub const LIST_PAGE_BYTES: usize = 2 << 20;

/// Bytes of objects in a whole list.
pub const MAX_LIST_BYTES: usize = 256 << 20;

/// Objects a list call returns at most.
pub const MAX_LIST: usize = 50_000;

/// Longest service name: it is also a DNS label.
pub const MAX_SERVICE_NAME: usize = 63;

/// Most replicas one service may ask for.
pub const MAX_REPLICAS: u64 = 100_000;

// ---- ports -------------------------------------------------------------------------------------

/// Port of the managers' service.
pub const MANAGER_PORT: u16 = 2377;

/// Port of the node-to-node service.
pub const PEER_PORT: u16 = 7946;

// ---- liveness ----------------------------------------------------------------------------------

/// How often an agent says it is alive, unless the cluster's spec says otherwise.
/// Three missed beats make a node down, so the default declares a dead node within 3 s.
pub const HEARTBEAT_PERIOD: Duration = Duration::from_millis(750);

/// Heartbeats in a row that must be missing before a node is down.
pub const MISSED_HEARTBEATS: u32 = 3;

/// The same for a node that a leader has not heard at all yet: two more, in which to find the leader.
pub const MISSED_FIRST_HEARTBEATS: u32 = MISSED_HEARTBEATS + 2;

/// Shortest heartbeat period a cluster may be set to.
pub const MIN_HEARTBEAT_PERIOD: Duration = Duration::from_millis(100);

/// Tasks of a node that has been down for this long are given up: ORPHANED.
pub const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 3600);

// ---- services and tasks ------------------------------------------------------------------------

/// Wait before a task's replacement starts, when the policy names none.
pub const RESTART_DELAY: Duration = Duration::from_secs(5);

/// Time between the stop signal and SIGKILL, when the spec names none.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// The same, at most, when the node leaves its swarm: nothing the containers might still finish is wanted by anyone.
pub const LEAVE_GRACE: Duration = Duration::from_secs(5);

/// How long a node that leaves may take, from whatever state: for the others' consent, its containers and its records.
pub const LEAVE_LIMIT: Duration = Duration::from_millis(9500);

/// Of that, for the consent of the other managers. What is left is enough for [`LEAVE_GRACE`].
pub const LEAVE_CONSENT: Duration = Duration::from_secs(3);

/// How long what is left of a membership may take to be stopped and removed. More than [`LEAVE_GRACE`].
pub const LEAVE_RELEASE: Duration = Duration::from_secs(8);

/// How long a daemon that is stopping waits for the requests under way.
pub const STOP_REQUESTS: Duration = Duration::from_secs(3);

/// How long it may take after that for all it is made of, and together with that it ends below 10 s. What is not closed by
/// then is as after a crash.
pub const STOP_LIMIT: Duration = Duration::from_secs(6);

/// Tasks kept per slot, the present one among them.
pub const TASK_HISTORY_LIMIT: u64 = 5;

/// Tasks updated at a time.
pub const UPDATE_PARALLELISM: u64 = 1;

/// How long an updated task is watched for failure.
pub const UPDATE_MONITOR: Duration = Duration::from_secs(5);

/// Failures of one service version on a node within [`NODE_FAILURE_WINDOW`] that send the node to the end of the scheduler's list.
pub const NODE_FAILURES: usize = 5;

/// See [`NODE_FAILURES`].
pub const NODE_FAILURE_WINDOW: Duration = Duration::from_secs(5 * 60);

// ---- Raft --------------------------------------------------------------------------------------

/// Log entries between snapshots.
pub const SNAPSHOT_INTERVAL: u64 = 10_000;

/// Log entries kept behind a snapshot for followers that are a little late.
pub const LOG_ENTRIES_FOR_SLOW_FOLLOWERS: u64 = 500;

/// More managers than this make every write slower and nothing safer.
pub const ADVISED_MANAGERS: usize = 7;

// ---- journal -----------------------------------------------------------------------------------

/// How long a manager remembers who changed what.
pub const JOURNAL_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Bytes of a manager's journal.
pub const JOURNAL_BYTES: u64 = 64 << 20;

/// Bytes of a page of it that goes to another manager; a single version that did more goes alone.
pub const JOURNAL_PAGE_BYTES: usize = 512 << 10;

/// Entries of history that are shown at most, and unless more or fewer are asked for.
pub const MAX_HISTORY: usize = 1000;
/// See [`MAX_HISTORY`].
pub const HISTORY: usize = 50;

// ---- certificates ------------------------------------------------------------------------------

/// Life of a node's certificate.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// Shortest life a cluster may set.
pub const MIN_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(3600);

/// Certificates begin this long before they are made: clocks differ.
pub const CERTIFICATE_BACKDATE: Duration = Duration::from_secs(3600);

/// Life of a root certificate.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

// ---- RPC ---------------------------------------------------------------------------------------

/// Deadline of an ordinary call, on both sides.
pub const RPC_DEADLINE: Duration = Duration::from_secs(10);

/// Deadline of a change of Raft's membership, which may wait for another one and for the new member to catch up.
pub const MEMBERSHIP_DEADLINE: Duration = Duration::from_secs(60);

/// TCP and TLS of an outgoing connection together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// TLS of an incoming connection.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Within this a peer without a certificate must have sent the whole of a request.
pub const STRANGERS_REQUEST_DEADLINE: Duration = Duration::from_secs(3);

/// Largest header list of a request or reply.
pub const MAX_HEADER_BYTES: u32 = 16 << 10;

/// How often the right to an open call is checked again: a removed or demoted node loses its streams within this.
pub const RECHECK_PERIOD: Duration = Duration::from_secs(1);

/// Ping on a connection with open calls after this silence…
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(500);

/// …and give the connection up when no answer comes for this long. With the interval: a dead peer is noticed in < 2 s.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(1);
