//! Fills gaps of the journal from the other managers.
//!
//! Invariants: nothing waits for it; one page is requested at a time; what a manager sends is validated before it is written;
//! what no manager has is asked for less and less often.

use std::{future::Future, sync::Arc, time::Duration};

use skep_common::{
    clock::Timestamp,
    limits::{JOURNAL_PAGE_BYTES, RPC_DEADLINE},
    net::{
        backoff::Backoff,
        dial::{Dialer, Expect},
    },
};
use skep_core::journal::MAX_TEXT;
use skep_proto::{
    Message as _,
    v1::{JournalEntry, JournalRecord, PeerManager, ReadJournalRequest, journal_client::JournalClient},
};
use skep_raft::RaftNode;
use skep_store::Store;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};
use tracing::{debug, info, warn};

use super::{Gap, Keeper, PERIOD, log::MAX_VERSION_ENTRIES};
use crate::peers;

/// Largest page: what a single version may have done, when that is more than a page.
const MAX_PAGE: usize = 1 << 20;

/// Entries on a page.
const MAX_ENTRIES: usize = JOURNAL_PAGE_BYTES / 16 + MAX_VERSION_ENTRIES;

/// Longest name or id in an entry, in bytes.
const MAX_NAME: usize = 512;

/// Gaps that are looked at in one round.
const MAX_GAPS: usize = 64;

/// Where other managers are asked.
pub(crate) trait Source: Send + Sync {
    /// The other managers, whom to ask first first.
    fn others(&self) -> Vec<PeerManager>;

    /// The newest unbroken piece that a manager has of these versions.
    fn read(
        &self,
        peer: &PeerManager,
        request: ReadJournalRequest,
    ) -> impl Future<Output = Result<Option<JournalRecord>, Status>> + Send;
}

/// The managers of the swarm.
pub(crate) struct Managers {
    pub(crate) node_id: String,
    pub(crate) store: Arc<Store>,
    pub(crate) raft: RaftNode,
    pub(crate) dialer: Dialer,
}

impl Source for Managers {
    /// The leader has enough to do, and comes last.
    fn others(&self) -> Vec<PeerManager> {
        let leadership = self.raft.leadership().borrow().clone();
        let mut others = peers::managers(&self.store.view(), &leadership);
        others.retain(|peer| peer.node_id != self.node_id);
        others.sort_by_key(|peer| peer.leader);
        others
    }

    async fn read(&self, peer: &PeerManager, request: ReadJournalRequest) -> Result<Option<JournalRecord>, Status> {
        let channel = self.dialer.channel(&peer.addr, Expect::Node(peer.node_id.clone()));
        let mut request = Request::new(request);
        request.set_timeout(RPC_DEADLINE);
        let mut client = JournalClient::new(channel).max_decoding_message_size(MAX_PAGE + 1024);
        Ok(client.read(request).await?.into_inner().record)
    }
}

/// Fills the journal's gaps.
pub(crate) struct Filler<S> {
    pub(crate) keeper: Keeper,
    pub(crate) source: S,
}

impl<S: Source> Filler<S> {
    /// Fills what gaps there are and come up, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.fill()).await;
    }

    async fn fill(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(300));
        loop {
            let (taken, left) = self.round().await;
            if taken > 0 || left == 0 {
                backoff.reset();
            }
            if taken > 0 {
                info!(versions = taken, "the journal was completed with what other managers had");
            }
            let gap = self.keeper.gap.notified();
            // A file that turns out to be damaged, or a disk that failed for a while, leaves a gap that nobody tells of.
            let look = if left == 0 { PERIOD } else { backoff.next_delay() };
            tokio::select! {
                () = gap => backoff.reset(),
                () = tokio::time::sleep(look) => {}
            }
        }
    }

    /// Asks everybody once for everything. Gives how many versions were taken over, and how many gaps are left.
    pub(super) async fn round(&self) -> (u64, usize) {
        let mut taken = 0;
        for peer in self.source.others() {
            let gaps = self.wanted().await;
            if gaps.is_empty() {
                break;
            }
            for gap in gaps.into_iter().take(MAX_GAPS) {
                match self.take_from(&peer, gap).await {
                    Ok(versions) => taken += versions,
                    Err(status) => {
                        debug!(peer = peer.node_id, reason = status.message(), "a manager cannot be asked for history");
                        break;
                    }
                }
            }
        }
        (taken, self.wanted().await.len())
    }

    async fn wanted(&self) -> Vec<Gap> {
        let now = self.keeper.clock.now();
        match self.keeper.with(move |log| log.wanted(now)).await {
            Some(Ok(gaps)) => gaps,
            Some(Err(error)) => {
                warn!(%error, "what is missing in the journal cannot be found out");
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Takes over what a manager has of a gap, the newest first. Gives how many versions that were.
    async fn take_from(&self, peer: &PeerManager, gap: Gap) -> Result<u64, Status> {
        let (mut taken, mut upto) = (0, gap.upto);
        while upto > gap.after {
            let Some(record) = self.source.read(peer, ReadJournalRequest { after: gap.after, upto }).await? else {
                break;
            };
            check(&record, gap.after, upto).map_err(|reason| {
                warn!(peer = peer.node_id, reason, "a manager sent history that makes no sense; it is not kept");
                Status::data_loss(reason)
            })?;
            let (after, versions) = (record.after, record.upto - record.after);
            let now = self.keeper.clock.now();
            match self.keeper.with(move |log| log.fill(&record, now)).await {
                Some(Ok(true)) => (taken, upto) = (taken + versions, after),
                Some(Ok(false)) | None => break,
                Some(Err(error)) => {
                    warn!(%error, "what other managers know cannot be written down");
                    break;
                }
            }
        }
        Ok(taken)
    }
}

/// Whether a page is what was asked for and nothing else.
fn check(record: &JournalRecord, after: u64, upto: u64) -> Result<(), &'static str> {
    if record.after < after || record.after >= record.upto || record.upto > upto {
        return Err("other versions than those asked for");
    }
    if record.entries.len() > MAX_ENTRIES || record.encoded_len() > MAX_PAGE {
        return Err("more than a page");
    }
    let within = |entry: &JournalEntry| record.after < entry.version && entry.version <= record.upto;
    if !record.entries.iter().all(within) || !record.entries.is_sorted_by_key(|entry| entry.version) {
        return Err("versions out of order");
    }
    let names = |entry: &JournalEntry| {
        [&entry.by, &entry.service_id, &entry.task_id, &entry.node_id].iter().all(|name| name.len() <= MAX_NAME)
    };
    let sound = |entry: &JournalEntry| {
        names(entry) && (1..=MAX_TEXT).contains(&entry.text.len()) && Timestamp(entry.at) > Timestamp::ZERO
    };
    if record.entries.iter().all(sound) { Ok(()) } else { Err("an entry that no manager writes") }
}
