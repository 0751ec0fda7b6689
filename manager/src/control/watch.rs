//! Changes as they happen, for as long as the caller keeps up.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use skep_proto::v1::{Object, ObjectKind, WatchMessage, WatchRequest, watch_message::Action};
use skep_store::{AnyObject, Change, Selector, WatchError, WatchEvent};
use tonic::Status;

use super::cluster;
use crate::swarm_state::SwarmState;

pub(super) type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchMessage, Status>> + Send>>;

/// Opens a watch. Everything that is committed after the call's answer has begun is in it.
pub(super) async fn open(swarm: &SwarmState, request: WatchRequest) -> Result<WatchStream, Status> {
    let kinds = request.kinds.iter().map(|kind| ObjectKind::try_from(*kind)).collect::<Result<Vec<_>, _>>();
    let kinds = kinds.map_err(|_| Status::invalid_argument("one of the kinds to watch is not one there is"))?;
    let selector = if kinds.is_empty() { Selector::All } else { Selector::Kinds(kinds) };
    swarm.read().await?;
    let (view, events) = swarm.store.view_and_watch(selector);
    let messages = stream::unfold((Some(events), view.version()), |(events, seen)| async move {
        let mut events = events?;
        match events.next().await? {
            Ok(event) => {
                let version = event.version;
                Some((stream::iter(messages(&event)), (Some(events), version)))
            }
            Err(lagged) => Some((stream::iter(vec![Err(behind(lagged, seen))]), (None, seen))),
        }
    });
    let deposed = deposed(swarm.raft.leadership());
    let end = Status::unavailable("the swarm has another leader: list the objects anew and watch there");
    Ok(Box::pin(messages.flatten().take_until(deposed).chain(stream::iter([Err(end)]))))
}

/// Completes when this manager does not lead any more: what it would show then could be late without end.
async fn deposed(mut leadership: tokio::sync::watch::Receiver<skep_raft::Leadership>) {
    // A closed channel means that the member stops, which ends the watch as well.
    let _ = leadership.wait_for(|now| !now.is_self).await;
}

fn behind(error: WatchError, seen: u64) -> Status {
    Status::out_of_range(format!("{error}: everything up to version {seen} was sent, list the objects anew"))
}

fn messages(event: &Arc<WatchEvent>) -> Vec<Result<WatchMessage, Status>> {
    event.changes.iter().map(|change| Ok(message(change, event.version))).collect()
}

fn message(change: &Change, version: u64) -> WatchMessage {
    let action = match change {
        Change::Create(_) => Action::Create,
        Change::Update { .. } => Action::Update,
        Change::Remove(_) => Action::Remove,
    };
    let old = match change {
        Change::Update { old, .. } => Some(public(old)),
        Change::Create(_) | Change::Remove(_) => None,
    };
    WatchMessage { action: action.into(), object: Some(public(change.object())), old, version }
}

/// An object without what must not leave the managers.
fn public(object: &AnyObject) -> Object {
    match object {
        AnyObject::Cluster(cluster) => AnyObject::from(cluster::public(cluster)).into_proto(),
        AnyObject::Node(_) | AnyObject::Service(_) | AnyObject::Revision(_) | AnyObject::Task(_) => {
            object.clone().into_proto()
        }
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Cluster, RootCa, object};

    use super::*;

    #[test]
    fn the_root_key_is_in_no_message() {
        let root = RootCa { certificate_pem: b"cert".to_vec(), key_pem: b"key".to_vec() };
        let cluster = AnyObject::from(Cluster { id: "c".into(), root_ca: Some(root), ..Default::default() });
        let change = Change::Update { old: cluster.clone(), new: cluster };
        let message = message(&change, 3);
        for object in [message.object, message.old] {
            let Some(object::Object::Cluster(cluster)) = object.and_then(|object| object.object) else {
                panic!("a cluster went in")
            };
            let root = cluster.into_inner().root_ca.unwrap();
            assert_eq!((root.certificate_pem.as_slice(), root.key_pem.as_slice()), (&b"cert"[..], &b""[..]));
        }
    }
}
