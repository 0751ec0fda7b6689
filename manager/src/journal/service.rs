//! Serves the journal to other managers that fill their gaps. Read-only; each answer is one page.

use std::{io, sync::Arc};

use skep_common::limits::JOURNAL_PAGE_BYTES;
use skep_proto::v1::{JournalRecord, ReadJournalReply, ReadJournalRequest, journal_server};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, async_trait};

use super::{Keeper, Log};

/// Pages that are looked for at a time: each reads files.
const TURNS: usize = 2;

/// The journal as other managers see it.
pub(crate) struct JournalService {
    keeper: Keeper,
    turns: Arc<Semaphore>,
}

impl JournalService {
    pub(crate) fn new(keeper: Keeper) -> Self {
        Self { keeper, turns: Arc::new(Semaphore::new(TURNS)) }
    }
}

#[async_trait]
impl journal_server::Journal for JournalService {
    async fn read(&self, request: Request<ReadJournalRequest>) -> Result<Response<ReadJournalReply>, Status> {
        let ReadJournalRequest { after, upto } = request.into_inner();
        let busy = |_| Status::resource_exhausted("others are reading the journal; try again");
        let turn = self.turns.clone().try_acquire_owned().map_err(busy)?;
        let now = self.keeper.clock.now();
        // What was seen to be nothing worth telling is known as well.
        let journal = self.keeper.with(move |log: &mut Log| {
            log.catch_up(now);
            log.journal().clone()
        });
        let journal = journal.await.ok_or_else(|| Status::internal("the journal failed"))?;
        let read = tokio::task::spawn_blocking(move || {
            // Held to the end, also when the caller stops waiting.
            let _turn = turn;
            journal.piece(after, upto, JOURNAL_PAGE_BYTES)
        });
        let record: io::Result<Option<JournalRecord>> =
            read.await.map_err(|error| Status::internal(format!("the journal failed: {error}")))?;
        let record = record.map_err(|error| Status::internal(format!("the journal cannot be read: {error}")))?;
        Ok(Response::new(ReadJournalReply { record }))
    }
}
