//! Problems of this node's manager, as one sentence that the agent reports to the swarm like the node's other problems.

use tokio::sync::watch;

/// Keeps `told` as the troubles of the present manager are. Ends with either.
pub(super) async fn follow<M: Clone>(
    mut manager: watch::Receiver<Option<M>>,
    troubles_of: impl Fn(&M) -> watch::Receiver<Vec<String>>,
    told: &watch::Sender<String>,
) {
    loop {
        let mut troubles = manager.borrow_and_update().as_ref().map(&troubles_of);
        loop {
            let now = troubles.as_mut().map(|troubles| troubles.borrow_and_update().join("; ")).unwrap_or_default();
            told.send_if_modified(|told| {
                *told != now && {
                    *told = now;
                    true
                }
            });
            let news = async {
                match &mut troubles {
                    Some(troubles) => troubles.changed().await.is_ok(),
                    None => false,
                }
            };
            tokio::select! {
                true = news => {}
                another = manager.changed() => match another {
                    Ok(()) => break,
                    Err(_) => return,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_nodes_troubles_are_those_of_the_manager_it_has() {
        type Troubles = watch::Sender<Vec<String>>;
        let of = |troubles: &Troubles| troubles.subscribe();
        let (first, second): (Troubles, Troubles) = Default::default();
        let manager = watch::Sender::new(Some(first.clone()));
        let told = watch::Sender::default();
        let mut said = told.subscribe();
        let following = follow(manager.subscribe(), of, &told);
        let mut is_said = async |wanted: &str| drop(said.wait_for(|said| said == wanted).await.unwrap());
        let play = async {
            first.send_replace(vec!["no room".into(), "no snapshot".into()]);
            is_said("no room; no snapshot").await;
            manager.send_replace(None);
            is_said("").await;
            manager.send_replace(Some(second.clone()));
            second.send_replace(vec!["no snapshot".into()]);
            is_said("no snapshot").await;
            first.send_replace(Vec::new());
            second.send_replace(Vec::new());
            is_said("").await;
            drop(manager);
        };
        tokio::join!(following, play);
    }
}
