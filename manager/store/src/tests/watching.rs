//! What watchers receive.

use futures::{FutureExt as _, StreamExt as _};
use skep_proto::v1::{ObjectKind, TaskState};

use super::{service, task, with};
use crate::{Selector, Store, View, WatchError, Watcher};

fn received(watcher: &mut Watcher) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(Some(event)) = watcher.next().now_or_never() {
        match event {
            Ok(event) => words.extend(event.changes.iter().map(|change| change.object().id().to_owned())),
            Err(error) => words.push(error.to_string()),
        }
    }
    words
}

#[test]
fn a_watcher_hears_what_it_selected_and_no_more() {
    let store = Store::default();
    let mut all = store.watch(Selector::All);
    let mut services = store.watch(Selector::Kinds(vec![ObjectKind::Service]));
    let mut of_node = store.watch(Selector::TasksOfNode("n1".into()));
    let mut of_service = store.watch(Selector::TasksOfService("s".into()));

    let tx = with(&store.view(), |tx| {
        tx.create(service("s", "web"));
        tx.create(task("a", "s", 1, "n1", TaskState::Assigned));
        tx.create(task("b", "s", 2, "n2", TaskState::Assigned));
        tx.create(task("c", "other", 1, "n1", TaskState::Assigned));
    });
    store.commit(1, &tx).unwrap();

    assert_eq!(received(&mut all), ["s", "a", "b", "c"]);
    assert_eq!(received(&mut services), ["s"]);
    assert_eq!(received(&mut of_node), ["a", "c"]);
    assert_eq!(received(&mut of_service), ["a", "b"]);

    // A removed task is still its node's news.
    store
        .commit(
            2,
            &with(&store.view(), |tx| {
                tx.remove(ObjectKind::Task, "a");
            }),
        )
        .unwrap();
    assert_eq!(received(&mut of_node), ["a"]);
    assert_eq!(received(&mut services), Vec::<String>::new());
}

#[test]
fn a_view_and_its_watch_have_no_gap() {
    let store = Store::default();
    store
        .commit(
            1,
            &with(&store.view(), |tx| {
                tx.create(service("s", "web"));
            }),
        )
        .unwrap();
    let (view, mut watcher) = store.view_and_watch(Selector::All);
    store
        .commit(
            2,
            &with(&store.view(), |tx| {
                tx.create(service("t", "db"));
            }),
        )
        .unwrap();
    assert!(view.service("s").is_some() && view.service("t").is_none());
    assert_eq!(received(&mut watcher), ["t"]);
}

#[test]
fn a_refused_entry_moves_the_version_and_nothing_else() {
    let store = Store::default();
    let mut watcher = store.watch(Selector::All);
    let bad = with(&store.view(), |tx| {
        tx.update(service("s", "x"));
    });
    assert!(store.commit(4, &bad).is_err());
    store.skip(5);
    assert_eq!((store.view().version(), store.view().object_count()), (5, 0));
    assert_eq!(received(&mut watcher), Vec::<String>::new());
}

#[test]
fn a_slow_watcher_and_one_whose_state_was_replaced_must_start_again() {
    let store = Store::default();
    let mut slow = store.watch(Selector::All);
    for index in 1..2000 {
        let name = format!("s{index}");
        store
            .commit(
                index,
                &with(&store.view(), |tx| {
                    tx.create(service(&name, &name));
                }),
            )
            .unwrap();
    }
    let words = received(&mut slow);
    assert_eq!(words.last().unwrap(), &WatchError::Lagged.to_string());
    assert!(slow.next().now_or_never().unwrap().is_none(), "it goes on after it lagged");

    let mut watcher = store.watch(Selector::TasksOfNode("n".into()));
    store.replace(View::default());
    assert_eq!(watcher.next().now_or_never().unwrap(), Some(Err(WatchError::Lagged)));
}
