//! Runs the leader's reconcile loops: waits, takes the state, proposes what a [`Loop`] plans, and reports the outcome to it.
//!
//! Only does the waiting; [`Loop`] decides when to plan, and for what. Invariant: a plan is proposed in its leader's term or
//! not at all.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use skep_common::{clock::Clock, net::backoff::Backoff};
use skep_core::reconcile::{Allocator, ByService, Fate, Loop, Next, Now, Reconciler, Scheduler, Scoped};
use skep_proto::v1::Transaction;
use skep_raft::{ProposeError, RaftNode};
use skep_store::{Follower, Store, kind_name};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How many transactions of one plan are on their way at a time.
const PIPELINE: usize = 16;

/// The waits between attempts.
const FIRST_RETRY: Duration = Duration::from_millis(2);
const LAST_RETRY: Duration = Duration::from_millis(500);

/// A component of the leader, with its side effects outside the state.
pub(crate) trait Component: Reconciler + Send + 'static {
    /// Completes when there is a reason to plan that is not in the state. Cancel safe.
    fn woken(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// The side effects, now that the plan is written. Says whether to plan again at once.
    fn act(&mut self) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }
}

impl Component for Allocator {}
impl Component for Scheduler {}
impl<P: ByService + Send + 'static> Component for Scoped<P> {}

/// What leader-only code needs: the state, and the right to propose in this term.
#[derive(Clone)]
pub(crate) struct Term {
    pub(crate) number: u64,
    pub(crate) store: Arc<Store>,
    pub(crate) raft: RaftNode,
    pub(crate) clock: Arc<dyn Clock>,
    /// Cancelled when this manager no longer leads in this term.
    pub(crate) over: CancellationToken,
}

impl Term {
    fn now(&self) -> Now {
        Now { wall: self.clock.now(), monotonic: self.clock.monotonic() }
    }

    /// Proposes all transactions of a plan and returns the worst outcome.
    async fn carry_out(&self, name: &str, transactions: Vec<Transaction>) -> Fate {
        let signed = transactions.into_iter().map(|transaction| Transaction { by: name.to_owned(), ..transaction });
        let proposals = signed.map(|transaction| self.raft.propose_in(self.number, transaction));
        let fates = stream::iter(proposals).buffered(PIPELINE).map(|result| match result {
            Ok(applied) => {
                for change in &applied.changes.changes {
                    let (kind, id) = (kind_name(change.kind()), change.object().id());
                    debug!(by = name, kind, id, version = applied.version, "written");
                }
                for refused in &applied.changes.refused {
                    debug!(by = name, conflict = %refused.error, "the state moved on under a part of a plan");
                }
                if applied.changes.refused.is_empty() { Fate::Written } else { Fate::Refused }
            }
            Err(ProposeError::Conflict(conflict)) => {
                debug!(by = name, %conflict, "the state moved on under a plan");
                Fate::Refused
            }
            Err(ProposeError::Unknown) => Fate::Unknown,
            Err(ProposeError::NotLeader { .. } | ProposeError::Stopped) => Fate::Unled,
            Err(error @ ProposeError::TooLarge { .. }) => {
                warn!(by = name, %error, "a plan does not fit into the log; it is tried again, and will not fit again");
                Fate::Refused
            }
        });
        fates.fold(Fate::Written, |worst, next| std::future::ready(worst.max(next))).await
    }
}

/// Runs one component until the term is over.
pub(crate) async fn drive<C: Component>(component: C, term: Term) {
    let over = term.over.clone();
    over.run_until_cancelled(run(Loop::new(component), &term)).await;
}

async fn run<C: Component>(mut it: Loop<C>, term: &Term) {
    let mut retry = Backoff::new(FIRST_RETRY, LAST_RETRY);
    let mut changes = term.store.follow(it.reconciler().watches());
    loop {
        let (view, news) = term.store.look(&mut changes);
        let transactions = it.plan(&view, news, term.now());
        // A view that is held makes the next entry copy what it changes.
        drop(view);
        // One that has much to look at goes on at once, part by part; others have to come to their turn in between.
        tokio::task::yield_now().await;
        let fate = term.carry_out(C::NAME, transactions).await;
        match it.settled(fate) {
            Next::Wait => {
                retry.reset();
                if !it.reconciler().act().await {
                    wait(&mut it, term, &mut changes).await;
                }
            }
            Next::Retry => {
                tokio::select! {
                    () = retry.wait() => {}
                    () = wait(&mut it, term, &mut changes) => {}
                }
            }
            Next::Barrier => {
                while term.raft.read_barrier().await.is_err() {
                    retry.wait().await;
                }
            }
            Next::End => return term.over.cancelled().await,
        }
    }
}

/// Waits for a reason to plan.
async fn wait<C: Component>(it: &mut Loop<C>, term: &Term, changes: &mut Follower) {
    let patience = it.patience(term.now());
    tokio::select! {
        () = changes.changed() => {}
        () = it.reconciler().woken() => {}
        () = tokio::time::sleep(patience) => {}
    }
}
