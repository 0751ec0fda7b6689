//! Storage problems of a manager, in words for the operator. The facts are Raft's.

use tokio::sync::watch;

/// Keeps `told` up to date.
pub(crate) async fn follow(
    mut snapshot: watch::Receiver<Option<String>>,
    mut log_is_short_of_room: watch::Receiver<bool>,
    told: watch::Sender<Vec<String>>,
) {
    loop {
        let now = of(snapshot.borrow_and_update().as_deref(), *log_is_short_of_room.borrow_and_update());
        told.send_if_modified(|troubles| {
            *troubles != now && {
                *troubles = now;
                true
            }
        });
        tokio::select! {
            Ok(()) = snapshot.changed() => {}
            Ok(()) = log_is_short_of_room.changed() => {}
            else => return,
        }
    }
}

/// A sentence for each problem.
fn of(snapshot: Option<&str>, log_is_short_of_room: bool) -> Vec<String> {
    let short =
        "the disk is full: this manager writes changes of the swarm into the last room it has held back for them";
    let snapshot = snapshot.map(|error| {
        format!("this manager cannot write a snapshot of the swarm's state, its log grows until it can: {error}")
    });
    log_is_short_of_room.then(|| short.to_owned()).into_iter().chain(snapshot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_a_sentence_that_says_why() {
        assert!(of(None, false).is_empty());
        let [short] = &of(None, true)[..] else { panic!("one trouble") };
        assert!(short.starts_with("the disk is full: "), "{short}");
        let [first, snapshot] = &of(Some("no such device"), true)[..] else { panic!("two troubles") };
        assert_eq!(first, short);
        assert!(snapshot.contains("cannot write a snapshot") && snapshot.ends_with(": no such device"), "{snapshot}");
    }

    #[tokio::test]
    async fn troubles_come_and_go_with_their_reasons() {
        let (snapshot, short) = (watch::Sender::new(None), watch::Sender::new(false));
        let told = watch::Sender::default();
        let mut troubles = told.subscribe();
        let following = tokio::spawn(follow(snapshot.subscribe(), short.subscribe(), told));
        let mut become_as_many = async |many: usize| drop(troubles.wait_for(|told| told.len() == many).await.unwrap());
        short.send_replace(true);
        become_as_many(1).await;
        snapshot.send_replace(Some("no such device".to_owned()));
        become_as_many(2).await;
        short.send_replace(false);
        become_as_many(1).await;
        snapshot.send_replace(None);
        become_as_many(0).await;
        drop((snapshot, short));
        following.await.unwrap();
    }
}
