//! Reading watch events in batches: one, and everything queued behind it.

use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};
use skep_store::{WatchEvent, Watcher};

/// Waits for an event and takes along all that are queued. `None`: the watcher fell behind, or the whole state was
/// replaced, and whoever watches must begin anew with the state as it is. Nothing is lost when it is dropped.
pub(crate) async fn burst(watcher: &mut Watcher) -> Option<Vec<Arc<WatchEvent>>> {
    let mut events = Vec::new();
    let mut next = Some(watcher.next().await);
    while let Some(event) = next {
        events.push(event?.ok()?);
        next = watcher.next().now_or_never();
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use skep_common::clock::Timestamp;
    use skep_proto::v1::Node;
    use skep_store::{Selector, Store, TxBuilder, View};

    use super::*;

    fn create(store: &Store, id: &str) {
        let view = store.view();
        let mut tx = TxBuilder::new(&view, Timestamp(1));
        tx.create(Node { id: id.into(), ..Node::default() });
        store.commit(view.version() + 1, &tx.build()).unwrap();
    }

    #[tokio::test]
    async fn queued_events_come_together() {
        let store = Store::new(View::default());
        let mut watcher = store.watch(Selector::All);
        create(&store, "a");
        create(&store, "b");
        let versions = |events: Vec<Arc<WatchEvent>>| events.iter().map(|event| event.version).collect::<Vec<_>>();
        assert_eq!(burst(&mut watcher).await.map(versions), Some(vec![1, 2]));
        create(&store, "c");
        assert_eq!(burst(&mut watcher).await.map(versions), Some(vec![3]));
    }

    #[tokio::test]
    async fn a_watcher_that_fell_behind_has_to_begin_anew() {
        let store = Store::new(View::default());
        let mut watcher = store.watch(Selector::All);
        create(&store, "a");
        store.replace(View::default());
        assert_eq!(burst(&mut watcher).await, None);
    }
}
