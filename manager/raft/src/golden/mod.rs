//! What earlier releases left on disk is opened, read and gone on with.
//!
//! `manager/raft/golden/` has a file for each feature level since the formats were frozen: the directory of a manager, with its key,
//! its log and a snapshot, in which every kind of action and object and each of their fields occurs; and beside it what was
//! written and what became of it. A file is made once, with the first release of its level, and never again:
//!
//! ```text
//! cargo nextest run -p skep-raft --run-ignored only golden
//! ```
//!
//! A field or kind that is new is a reason for a level ([`skep_common::feature_level`]), and so for a file.

mod fill;
mod make;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openraft::EntryPayload;
use skep_ca::{RootCa, Subject};
use skep_common::{
    clock::{Clock as _, SystemClock},
    feature_level::FEATURE_LEVEL,
    net::{
        dial::Dialer,
        identity::{Identity, IdentityHandle, new_key_and_csr},
    },
};
use skep_proto::{
    Message,
    v1::{NodeRole, Object, ObjectKind, RaftBatch, RaftProposal, Transaction},
};
use skep_store::{AnyObject, IntoObject as _, Store, View};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::fill::Schema;
use crate::{OnFatal, Open, RaftConfig, RaftNode, Tuning, dir, pack::Unpacker, testing::create_node};

/// The node whose directory it is.
const NODE: &str = "golden-node";

const ADDR: &str = "127.0.0.1:2377";

/// What an archive holds.
const STATE: &str = "state";
const TRANSACTIONS: &str = "transactions";
const OBJECTS: &str = "objects";

/// What was written, and the objects that came of it.
struct Level {
    transactions: Vec<Transaction>,
    objects: Vec<Object>,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn file(level: u32) -> PathBuf {
    golden().join(format!("level-{level}.tar.zst"))
}

/// Every file, unpacked.
fn levels() -> Vec<TempDir> {
    let files = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let unpack = |file: PathBuf| {
        let dir = tempfile::tempdir().unwrap();
        let packed = zstd::Decoder::new(fs::File::open(file).unwrap()).unwrap();
        tar::Archive::new(packed).unpack(dir.path()).unwrap();
        dir
    };
    files.map(unpack).collect()
}

/// Messages one after the other, each with its length.
fn join<M: Message>(messages: &[M]) -> Vec<u8> {
    messages.iter().flat_map(|message| message.encode_length_delimited_to_vec()).collect()
}

/// The bytes of each.
fn split(file: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(file).unwrap();
    let (mut rest, mut messages) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest).unwrap();
        let (message, after) = rest.split_at(length);
        messages.push(message.to_vec());
        rest = after;
    }
    messages
}

/// Starts the directory's member, alone.
async fn start(dir: &Path, open: Open) -> (RaftNode, Arc<Store>) {
    let clock = SystemClock::new();
    let ca = RootCa::generate(clock.now(), "swarm").unwrap();
    let (key, csr) = new_key_and_csr().unwrap();
    let subject = Subject { node_id: NODE, cluster_id: "swarm", role: NodeRole::Manager };
    let issued = ca.issue(csr.as_bytes(), subject, clock.now(), Duration::from_secs(7200)).unwrap();
    let identity = Identity::from_pem(&issued.certificate_pem, key, ca.certificate_pem()).unwrap();
    let config = RaftConfig {
        dir: dir.to_owned(),
        open,
        node_id: NODE.to_owned(),
        addr: ADDR.to_owned(),
        tuning: Tuning::default(),
        feature_level: FEATURE_LEVEL,
        on_fatal: OnFatal::new(|reason| panic!("{reason}")),
        give_up: CancellationToken::new(),
    };
    let store = Arc::new(Store::default());
    let dialer = Dialer::new(IdentityHandle::new(identity));
    (RaftNode::start(config, store.clone(), dialer, Arc::new(clock)).await.unwrap(), store)
}

/// Opens it again, and waits until it leads and has written down what it is.
async fn resume(dir: &Path) -> (RaftNode, Arc<Store>) {
    let (raft, store) = start(dir, Open::Resume).await;
    let mut leadership = raft.leadership();
    let leads = leadership.wait_for(|leadership| leadership.is_self);
    tokio::time::timeout(Duration::from_secs(30), leads).await.unwrap().unwrap();
    settled(&store).await;
    (raft, store)
}

/// Once the leader writes nothing of its own any more.
async fn settled(store: &Store) {
    let mut seen = store.view().version();
    loop {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let now = store.view().version();
        if now == seen {
            return;
        }
        seen = now;
    }
}

fn objects(view: &View) -> BTreeSet<Vec<u8>> {
    view.objects().map(|object| object.into_object().encode_to_vec()).collect()
}

#[tokio::test]
async fn every_level_is_opened_with_all_it_holds_and_gone_on_with() {
    let levels = levels();
    assert!(!levels.is_empty());
    for level in levels {
        let recorded: BTreeSet<Vec<u8>> = split(&level.path().join(OBJECTS)).into_iter().collect();
        let state = level.path().join(STATE);
        let (raft, store) = resume(&state).await;
        assert_eq!(objects(&store.view()), recorded);
        raft.propose(create_node("new")).await.unwrap();
        raft.shutdown().await;

        let (raft, store) = resume(&state).await;
        let mut after = objects(&store.view());
        let new = AnyObject::from(store.view().node("new").unwrap().clone()).into_object().encode_to_vec();
        assert!(after.remove(&new));
        assert_eq!(after, recorded);
        raft.shutdown().await;
    }
}

#[test]
fn every_field_that_was_written_is_the_field_it_was() {
    let schema = Schema::new();
    for level in levels() {
        for bytes in split(&level.path().join(TRANSACTIONS)) {
            let transaction = Transaction::decode(bytes.as_slice()).unwrap();
            assert_eq!(transaction.encode_to_vec(), bytes, "nothing is lost");
            let variant = make::variant(&transaction);
            for action in &transaction.actions {
                let misplaced = schema.misplaced("Action", &action.encode_to_vec(), variant, make::SET);
                assert!(misplaced.is_empty(), "{misplaced:#?}");
            }
        }
        for bytes in split(&level.path().join(OBJECTS)) {
            assert_eq!(Object::decode(bytes.as_slice()).unwrap().encode_to_vec(), bytes, "nothing is lost");
        }
    }
}

#[test]
fn every_kind_and_every_field_is_in_some_level() {
    let schema = Schema::new();
    let (mut written, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for level in levels() {
        for bytes in split(&level.path().join(TRANSACTIONS)) {
            written.extend(schema.fields("Transaction", &bytes));
            kinds.extend(make::kinds(&[Transaction::decode(bytes.as_slice()).unwrap()]));
        }
    }
    let missing: Vec<String> = schema.all_fields("Transaction").difference(&written).cloned().collect();
    assert!(missing.is_empty(), "these need a new feature level, and its golden file: {missing:#?}");
    let all = (0..).map_while(|number| ObjectKind::try_from(number).ok());
    assert!(all.eq(kinds), "a kind is in no level");
}

/// The log of today's level, entry by entry: what was written after the snapshot is in it, in both of an entry's forms.
#[test]
fn the_log_has_entries_of_every_form() {
    let level = tempfile::tempdir().unwrap();
    let packed = zstd::Decoder::new(fs::File::open(file(FEATURE_LEVEL)).unwrap()).unwrap();
    tar::Archive::new(packed).unpack(level.path()).unwrap();
    let opened = dir::open(&level.path().join(STATE), NODE, &CancellationToken::new()).unwrap();
    let (snapshot, _) = opened.newest.unwrap();
    assert!(opened.contents.vote.is_some() && opened.contents.committed.is_some());
    assert_eq!(opened.contents.purged, snapshot.meta.last_log_id);
    let written: BTreeSet<Vec<u8>> = split(&level.path().join(TRANSACTIONS)).into_iter().collect();
    let (mut plain, mut packed, mut found) = (0, 0, 0);
    for entry in &opened.contents.entries {
        let EntryPayload::Normal(batch) = &entry.payload else { continue };
        *(if batch.is_packed { &mut packed } else { &mut plain }) += 1;
        let RaftBatch { proposals } = Unpacker::default().unpack(batch).unwrap();
        let is_written = |RaftProposal { transaction, .. }: &RaftProposal| {
            written.contains(&transaction.clone().unwrap_or_default().encode_to_vec())
        };
        found += proposals.iter().filter(|proposal| is_written(proposal)).count();
    }
    assert!(plain > 0 && packed > 0, "{plain} plain, {packed} packed");
    assert_eq!(found * 2 + 1, written.len(), "half of it is in the snapshot");
}

#[tokio::test]
#[ignore = "makes the golden file of this level"]
async fn the_golden_file_of_this_level_is_made() {
    let (file, dir) = (file(FEATURE_LEVEL), tempfile::tempdir().unwrap());
    assert!(!file.exists(), "{} is never made again", file.display());
    let Level { transactions, objects } = make::make(&dir.path().join(STATE)).await;
    // The last of the leader's own writes is in it.
    let (raft, store) = resume(&dir.path().join(STATE)).await;
    let kept: Vec<Object> = store.view().objects().map(|object| object.into_object()).collect();
    assert_eq!(kept, objects);
    raft.shutdown().await;
    fs::write(dir.path().join(TRANSACTIONS), join(&transactions)).unwrap();
    fs::write(dir.path().join(OBJECTS), join(&objects)).unwrap();
    fs::create_dir_all(golden()).unwrap();
    let mut archive = tar::Builder::new(zstd::Encoder::new(fs::File::create(file).unwrap(), 19).unwrap());
    archive.append_dir_all(".", dir.path()).unwrap();
    archive.into_inner().unwrap().finish().unwrap();
}
