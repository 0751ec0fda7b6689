//! A snapshot on its way, as a leader with a bad line and a peer with bad manners send it.

use skep_common::{limits::SNAPSHOT_CHUNK_BYTES, net::dial::Expect};
use skep_proto::v1::{
    RaftLogId, RaftMembership, RaftVote, SnapshotChunk, SnapshotMeta, SnapshotOffer, raft_client::RaftClient,
};
use skep_raft::{FIRST_RAFT_ID, Tuning};
use tonic::{Code, Status, transport::Channel};

use crate::support::{Swarm, create, encoded, eventually};

const CHUNK: u64 = SNAPSHOT_CHUNK_BYTES as u64;

/// Bit by bit, as the standard defines it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 })
    })
}

fn chunk(number: u64) -> SnapshotChunk {
    let data = vec![7; SNAPSHOT_CHUNK_BYTES];
    SnapshotChunk { offer: None, offset: number * CHUNK, crc32c: crc32c(&data), data: data.into() }
}

async fn send(client: &mut RaftClient<Channel>, offer: &SnapshotOffer, chunks: Vec<SnapshotChunk>) -> Status {
    let first = SnapshotChunk { offer: Some(offer.clone()), ..SnapshotChunk::default() };
    let stream = tokio_stream::iter(std::iter::once(first).chain(chunks));
    client.install_snapshot(stream).await.expect_err("no such snapshot is complete and right")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_goes_on_where_it_broke_off_and_nothing_wrong_gets_in() {
    let swarm = Swarm::new();
    let managers = swarm.three().await;
    managers[0].propose(create("x")).await.unwrap();
    managers[2].wait_same_state(&managers[0]).await;
    let state = encoded(&managers[2].store.view());

    let to = &managers[2];
    let mut client = RaftClient::new(managers[0].dialer.channel(&to.addr, Expect::Node("n3".into())));
    let term = managers[0].raft.leadership().borrow().term;
    let offer = SnapshotOffer {
        vote: Some(RaftVote { term, raft_id: FIRST_RAFT_ID, committed: true }),
        meta: Some(SnapshotMeta {
            last_log_id: Some(RaftLogId { term, raft_id: FIRST_RAFT_ID, index: 9999 }),
            membership: Some(RaftMembership::default()),
            snapshot_id: "../../etc/passwd".into(),
            ..SnapshotMeta::default()
        }),
        size: 3 * CHUNK,
        sha256: vec![1; 32],
        to: to.raft.raft_id(),
    };

    assert_eq!(client.offer_snapshot(offer.clone()).await.unwrap().into_inner().have, 0);
    let broken_off = send(&mut client, &offer, vec![chunk(0)]).await;
    assert_eq!(broken_off.code(), Code::Aborted, "{broken_off}");
    assert_eq!(client.offer_snapshot(offer.clone()).await.unwrap().into_inner().have, CHUNK);

    let spoiled = SnapshotChunk { crc32c: 0, ..chunk(1) };
    assert_eq!(send(&mut client, &offer, vec![spoiled]).await.code(), Code::DataLoss);
    assert_eq!(send(&mut client, &offer, vec![chunk(2)]).await.code(), Code::DataLoss, "one was left out");
    assert_eq!(client.offer_snapshot(offer.clone()).await.unwrap().into_inner().have, CHUNK);

    let wrong = send(&mut client, &offer, vec![chunk(1), chunk(2)]).await;
    assert_eq!(wrong.code(), Code::DataLoss, "complete, but no state: {wrong}");
    assert_eq!(client.offer_snapshot(offer.clone()).await.unwrap().into_inner().have, 0);

    for malformed in [
        SnapshotOffer { sha256: vec![1; 31], ..offer.clone() },
        SnapshotOffer { size: 0, ..offer.clone() },
        SnapshotOffer { meta: None, ..offer.clone() },
        SnapshotOffer { vote: None, ..offer.clone() },
    ] {
        assert_eq!(client.offer_snapshot(malformed).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(encoded(&to.store.view()), state);
    managers[0].propose(create("y")).await.unwrap();
    to.wait_same_state(&managers[0]).await;
}

/// The transfer takes longer than it takes the log to be purged again: what follows the snapshot has to stay for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_behind_a_slow_line_is_not_outrun_by_writers() {
    let swarm = Swarm::with(Tuning { snapshot_interval: 40, keep_entries: 5, ..Tuning::default() });
    let mut managers = swarm.two().await;
    let (line, behind) = swarm.join_behind_a_line(&managers[0], "n3").await;
    let stopped = behind.stop().await;
    for number in 0..8 {
        managers[0].propose(create(&format!("{number}{}", "x".repeat(150 << 10)))).await.unwrap();
    }
    let is_given_up = || managers[0].raft.members().iter().any(|member| member.node_id == "n3" && !member.reachable);
    eventually("the leader to miss it", is_given_up).await;
    for number in 0..200 {
        managers[0].propose(create(&format!("before-{number}"))).await.unwrap();
    }

    line.slow_down();
    let raft = managers[0].raft.clone();
    let writer = tokio::spawn(async move {
        for number in 0.. {
            raft.propose(create(&format!("during-{number}"))).await.unwrap();
        }
    });
    let behind = swarm.restart(stopped).await;
    let version = |manager: &crate::support::Manager| manager.store.view().version();
    let before = version(&managers[0]);
    // It is there while the others go on writing.
    eventually("the member to catch up", || version(&behind) >= before.max(version(&managers[0]).saturating_sub(60)))
        .await;
    assert!(!writer.is_finished(), "nothing was written meanwhile");
    writer.abort();
    managers.push(behind);
    assert!(version(&managers[0]) > before);
    managers[2].wait_same_state(&managers[0]).await;
}
