//! Sending a snapshot: offer it, learn how much of it the receiver has already, stream the rest in checksummed chunks.

use std::time::Duration;

use openraft::{
    error::{Fatal, NetworkError, StreamingError, Unreachable},
    raft::SnapshotResponse,
};
use skep_common::limits::{RPC_DEADLINE, SNAPSHOT_CHUNK_BYTES};
use skep_proto::v1;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::info;

use super::peer::Peer;
use crate::{
    blocking::blocking,
    convert::{required_vote, snapshot_meta_to_proto, vote_to_proto},
    snapshot::{SnapshotFile, crc32c},
    types::{TypeConfig, Vote},
};

/// How long a chunk may wait for the one before it to be taken.
const PROGRESS: Duration = Duration::from_secs(10);

/// How long the receiver may take to check and install what it has received.
const INSTALL: Duration = Duration::from_secs(120);

type SendError = StreamingError<TypeConfig, Fatal<u64>>;

pub(super) async fn send(peer: &Peer, vote: Vote, file: SnapshotFile) -> Result<SnapshotResponse<u64>, SendError> {
    let description = &file.description;
    let offer = v1::SnapshotOffer {
        vote: Some(vote_to_proto(&vote)),
        meta: Some(snapshot_meta_to_proto(&description.meta)),
        size: description.size,
        sha256: description.sha256.to_vec(),
        to: peer.target(),
    };
    let reply = peer.within(RPC_DEADLINE, peer.client().offer_snapshot(offer.clone())).await;
    let reply = reply.map_err(|status| unreachable(&status))?;
    let theirs = required_vote(reply.vote.as_ref()).map_err(|error| NetworkError::new(&error))?;
    if theirs > vote {
        return Ok(SnapshotResponse { vote: theirs });
    }
    info!(to = peer.target(), size = description.size, have = reply.have, "sending a snapshot");

    let (chunks, stream) = mpsc::channel(1);
    let mut client = peer.client();
    let call = client.install_snapshot(ReceiverStream::new(stream));
    let feed = feed(peer, chunks, offer, file.clone(), reply.have);
    let mut call = std::pin::pin!(call);
    let reply = tokio::select! {
        // Before all is sent an answer can only be a refusal.
        answer = &mut call => answer,
        fed = feed => {
            fed?;
            timeout(INSTALL, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
        }
    };
    let reply = reply.map_err(|status| unreachable(&status))?.into_inner();
    peer.answered();
    let vote = required_vote(reply.vote.as_ref()).map_err(|error| NetworkError::new(&error))?;
    Ok(SnapshotResponse { vote })
}

/// Hands over the offer, then the chunks from `have` on, each when the one before it has been taken.
async fn feed(
    peer: &Peer,
    chunks: mpsc::Sender<v1::SnapshotChunk>,
    offer: v1::SnapshotOffer,
    file: SnapshotFile,
    have: u64,
) -> Result<(), SendError> {
    let first = v1::SnapshotChunk { offer: Some(offer), ..v1::SnapshotChunk::default() };
    hand_over(&chunks, first).await?;
    let next = have.div_ceil(SNAPSHOT_CHUNK_BYTES as u64);
    for number in next..file.description.chunks() {
        let of = file.clone();
        let data = blocking(move || of.chunk(number)).await.map_err(|error| NetworkError::new(&error))?;
        let offset = number * SNAPSHOT_CHUNK_BYTES as u64;
        let chunk = v1::SnapshotChunk { offer: None, offset, crc32c: crc32c(&data), data: data.into() };
        hand_over(&chunks, chunk).await?;
        peer.answered();
    }
    Ok(())
}

async fn hand_over(chunks: &mpsc::Sender<v1::SnapshotChunk>, chunk: v1::SnapshotChunk) -> Result<(), SendError> {
    match timeout(PROGRESS, chunks.send(chunk)).await {
        Ok(Ok(())) => Ok(()),
        // The call has ended; its answer says why.
        Ok(Err(_)) => std::future::pending().await,
        Err(_) => Err(Unreachable::new(&Status::deadline_exceeded("the snapshot transfer makes no progress")).into()),
    }
}

fn unreachable(status: &Status) -> SendError {
    Unreachable::new(status).into()
}
