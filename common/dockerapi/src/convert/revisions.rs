//! Revisions of services.

use skep_proto::v1::{self as proto, list_revisions_reply};

use crate::{
    time::Time,
    types::{Revision, Revisions},
};

impl From<proto::ListRevisionsReply> for Revisions {
    fn from(reply: proto::ListRevisionsReply) -> Self {
        Self {
            current: reply.current,
            previous: reply.previous,
            revisions: reply.revisions.into_iter().map(Revision::from).collect(),
        }
    }
}

impl From<list_revisions_reply::Revision> for Revision {
    fn from(one: list_revisions_reply::Revision) -> Self {
        Self {
            number: one.number,
            created_at: Time(one.created_at),
            image: one.image,
            running_tasks: one.running_tasks,
        }
    }
}
