//! Conversion between openraft's types and proto messages. Input from a peer or from disk can be malformed: that is an
//! error here, and the caller decides what it means.

use openraft::{CommittedLeaderId, EntryPayload};
use skep_proto::{
    Message as _,
    v1::{self, append_reply, raft_entry},
};

use crate::types::{Batch, Entry, LogId, Member, Membership, SnapshotMeta, StoredMembership, Vote};

/// A message without a part that it must have, or with parts that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) fn vote_to_proto(vote: &Vote) -> v1::RaftVote {
    v1::RaftVote { term: vote.leader_id.term, raft_id: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn vote_from_proto(vote: &v1::RaftVote) -> Vote {
    match vote.committed {
        true => Vote::new_committed(vote.term, vote.raft_id),
        false => Vote::new(vote.term, vote.raft_id),
    }
}

pub(crate) fn required_vote(vote: Option<&v1::RaftVote>) -> Result<Vote, Malformed> {
    vote.map(vote_from_proto).ok_or(Malformed("no vote"))
}

pub(crate) fn log_id_to_proto(log_id: &LogId) -> v1::RaftLogId {
    v1::RaftLogId { term: log_id.leader_id.term, raft_id: log_id.leader_id.node_id, index: log_id.index }
}

pub(crate) fn log_id_from_proto(log_id: &v1::RaftLogId) -> LogId {
    LogId::new(CommittedLeaderId::new(log_id.term, log_id.raft_id), log_id.index)
}

pub(crate) fn membership_to_proto(membership: &Membership) -> v1::RaftMembership {
    let config = |voters: &std::collections::BTreeSet<u64>| v1::RaftConfig { voters: voters.iter().copied().collect() };
    let member = |(id, member): (&u64, &Member)| {
        let Member { node_id, addr, leaving } = member.clone();
        (*id, v1::RaftMember { node_id, addr, leaving })
    };
    v1::RaftMembership {
        configs: membership.get_joint_config().iter().map(config).collect(),
        members: membership.nodes().map(member).collect(),
    }
}

pub(crate) fn membership_from_proto(membership: &v1::RaftMembership) -> Result<Membership, Malformed> {
    let configs: Vec<std::collections::BTreeSet<u64>> =
        membership.configs.iter().map(|config| config.voters.iter().copied().collect()).collect();
    if configs.iter().flatten().any(|voter| !membership.members.contains_key(voter)) {
        return Err(Malformed("a voter that is no member"));
    }
    let members: std::collections::BTreeMap<u64, Member> = membership
        .members
        .iter()
        .map(|(id, member)| {
            let v1::RaftMember { node_id, addr, leaving } = member.clone();
            (*id, Member { node_id, addr, leaving })
        })
        .collect();
    Ok(Membership::new(configs, members))
}

pub(crate) fn entry_to_proto(entry: &Entry) -> v1::RaftEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => raft_entry::Payload::Blank(true),
        EntryPayload::Normal(batch) if batch.is_packed => raft_entry::Payload::Packed(batch.bytes.clone()),
        EntryPayload::Normal(batch) => raft_entry::Payload::Batch(batch.bytes.clone()),
        EntryPayload::Membership(membership) => raft_entry::Payload::Membership(membership_to_proto(membership)),
    };
    v1::RaftEntry { log_id: Some(log_id_to_proto(&entry.log_id)), payload: Some(payload) }
}

pub(crate) fn entry_from_proto(entry: v1::RaftEntry) -> Result<Entry, Malformed> {
    let log_id = log_id_from_proto(&entry.log_id.ok_or(Malformed("an entry without a log id"))?);
    let payload = match entry.payload.ok_or(Malformed("an entry without a payload"))? {
        raft_entry::Payload::Blank(_) => EntryPayload::Blank,
        raft_entry::Payload::Batch(bytes) => EntryPayload::Normal(Batch::new(bytes)),
        raft_entry::Payload::Packed(bytes) => EntryPayload::Normal(Batch::packed(bytes)),
        raft_entry::Payload::Membership(membership) => EntryPayload::Membership(membership_from_proto(&membership)?),
    };
    Ok(Entry { log_id, payload })
}

pub(crate) fn append_to_proto(
    request: &openraft::raft::AppendEntriesRequest<crate::types::TypeConfig>,
    to: u64,
) -> v1::AppendRequest {
    v1::AppendRequest {
        vote: Some(vote_to_proto(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_to_proto),
        entries: request.entries.iter().map(entry_to_proto).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_to_proto),
        to,
    }
}

/// Also checks that the entries follow each other: openraft takes that for granted.
pub(crate) fn append_from_proto(
    request: v1::AppendRequest,
) -> Result<openraft::raft::AppendEntriesRequest<crate::types::TypeConfig>, Malformed> {
    let vote = required_vote(request.vote.as_ref())?;
    let prev_log_id = request.prev_log_id.as_ref().map(log_id_from_proto);
    let entries = request.entries.into_iter().map(entry_from_proto).collect::<Result<Vec<_>, _>>()?;
    let mut before = prev_log_id;
    for entry in &entries {
        let next = before.map_or(0, |log_id| log_id.index + 1);
        if entry.log_id.index != next || Some(entry.log_id) <= before {
            return Err(Malformed("entries that do not follow each other"));
        }
        before = Some(entry.log_id);
    }
    let leader_commit = request.leader_commit.as_ref().map(log_id_from_proto);
    Ok(openraft::raft::AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

pub(crate) fn append_reply_to_proto(reply: &openraft::raft::AppendEntriesResponse<u64>) -> v1::AppendReply {
    use openraft::raft::AppendEntriesResponse as Reply;
    let result = match reply {
        Reply::Success => append_reply::Result::Success(true),
        Reply::PartialSuccess(matching) => append_reply::Result::PartialSuccess(v1::RaftPartialSuccess {
            matching: matching.as_ref().map(log_id_to_proto),
        }),
        Reply::Conflict => append_reply::Result::Conflict(true),
        Reply::HigherVote(vote) => append_reply::Result::HigherVote(vote_to_proto(vote)),
    };
    v1::AppendReply { result: Some(result) }
}

pub(crate) fn append_reply_from_proto(
    reply: &v1::AppendReply,
) -> Result<openraft::raft::AppendEntriesResponse<u64>, Malformed> {
    use openraft::raft::AppendEntriesResponse as Reply;
    Ok(match reply.result.as_ref().ok_or(Malformed("a reply without a result"))? {
        append_reply::Result::Success(_) => Reply::Success,
        append_reply::Result::PartialSuccess(partial) => {
            Reply::PartialSuccess(partial.matching.as_ref().map(log_id_from_proto))
        }
        append_reply::Result::Conflict(_) => Reply::Conflict,
        append_reply::Result::HigherVote(vote) => Reply::HigherVote(vote_from_proto(vote)),
    })
}

pub(crate) fn snapshot_meta_to_proto(meta: &SnapshotMeta) -> v1::SnapshotMeta {
    v1::SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id_to_proto),
        membership_log_id: meta.last_membership.log_id().as_ref().map(log_id_to_proto),
        membership: Some(membership_to_proto(meta.last_membership.membership())),
        snapshot_id: meta.snapshot_id.clone(),
    }
}

pub(crate) fn snapshot_meta_from_proto(meta: &v1::SnapshotMeta) -> Result<SnapshotMeta, Malformed> {
    let membership = meta.membership.as_ref().ok_or(Malformed("a snapshot without a membership"))?;
    Ok(SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id_from_proto),
        last_membership: StoredMembership::new(
            meta.membership_log_id.as_ref().map(log_id_from_proto),
            membership_from_proto(membership)?,
        ),
        snapshot_id: meta.snapshot_id.clone(),
    })
}

/// The entry as it is kept on disk, before it is sealed.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    entry_to_proto(entry).encode_to_vec()
}

pub(crate) fn decode_entry(bytes: &[u8]) -> Result<Entry, Malformed> {
    entry_from_proto(v1::RaftEntry::decode(bytes).map_err(|_| Malformed("not a log entry"))?)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn log_id() -> impl Strategy<Value = LogId> {
        (any::<u64>(), any::<u64>(), any::<u64>())
            .prop_map(|(term, node, index)| LogId::new(CommittedLeaderId::new(term, node), index))
    }

    fn vote() -> impl Strategy<Value = Vote> {
        (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, node, committed)| match committed {
            true => Vote::new_committed(term, node),
            false => Vote::new(term, node),
        })
    }

    fn membership() -> impl Strategy<Value = Membership> {
        let configs = prop::collection::vec(prop::collection::btree_set(1u64..9, 1..4), 1..3);
        (configs, prop::collection::btree_set(9u64..12, 0..2)).prop_map(|(configs, learners)| {
            let ids: BTreeSet<u64> = configs.iter().flatten().copied().chain(learners).collect();
            let member = |id: u64| Member {
                node_id: format!("node{id}"),
                addr: format!("192.0.2.{id}:2377"),
                leaving: id.is_multiple_of(2),
            };
            Membership::new(configs, ids.into_iter().map(|id| (id, member(id))).collect::<BTreeMap<_, _>>())
        })
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let payload = prop_oneof![
            Just(EntryPayload::Blank),
            any::<Vec<u8>>().prop_map(|bytes| EntryPayload::Normal(Batch::new(bytes.into()))),
            any::<Vec<u8>>().prop_map(|bytes| EntryPayload::Normal(Batch::packed(bytes.into()))),
            membership().prop_map(EntryPayload::Membership),
        ];
        (log_id(), payload).prop_map(|(log_id, payload)| Entry { log_id, payload })
    }

    proptest! {
        #[test]
        fn entries_survive_the_disk(entry in entry()) {
            prop_assert_eq!(decode_entry(&encode_entry(&entry)).unwrap(), entry);
        }

        #[test]
        fn votes_and_snapshot_metas_survive_the_wire(vote in vote(), last in log_id(), at in log_id(), membership in membership()) {
            prop_assert_eq!(vote_from_proto(&vote_to_proto(&vote)), vote);
            let meta = SnapshotMeta {
                last_log_id: Some(last),
                last_membership: StoredMembership::new(Some(at), membership),
                snapshot_id: "id".into(),
            };
            prop_assert_eq!(snapshot_meta_from_proto(&snapshot_meta_to_proto(&meta)).unwrap(), meta);
        }

        #[test]
        fn junk_is_an_error_and_never_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode_entry(&bytes);
        }
    }

    fn blank(term: u64, index: u64) -> v1::RaftEntry {
        entry_to_proto(&Entry {
            log_id: LogId::new(CommittedLeaderId::new(term, 1), index),
            payload: EntryPayload::Blank,
        })
    }

    #[test]
    fn entries_must_follow_each_other() {
        let request = |entries| v1::AppendRequest {
            vote: Some(v1::RaftVote::default()),
            prev_log_id: Some(v1::RaftLogId { term: 2, raft_id: 1, index: 7 }),
            entries,
            ..v1::AppendRequest::default()
        };
        assert!(append_from_proto(request(vec![blank(2, 8), blank(3, 9)])).is_ok());
        for entries in [vec![blank(2, 9)], vec![blank(2, 8), blank(2, 10)], vec![blank(1, 8)]] {
            let error = append_from_proto(request(entries)).unwrap_err();
            assert_eq!(error, Malformed("entries that do not follow each other"));
        }
    }

    #[test]
    fn a_voter_must_be_a_member() {
        let membership = v1::RaftMembership { configs: vec![v1::RaftConfig { voters: vec![1] }], ..Default::default() };
        assert_eq!(membership_from_proto(&membership), Err(Malformed("a voter that is no member")));
    }
}
