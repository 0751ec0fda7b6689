//! The loop that runs the [`Supervisor`]'s effects: renewing certificates, starting and stopping the node's manager.
//!
//! Owns the lifetime of the node's manager. Every effect is a task of its own that can be cancelled; none waits for another,
//! and the end of this loop ends them all.

use std::{collections::BTreeMap, sync::Arc};

use skep_common::{
    clock::{Clock as _, SystemClock},
    feature_level::FEATURE_LEVEL,
    random,
};
use skep_core::supervision::{Effect, ManagerState, Situation, Supervisor, Wish};
use skep_manager::{Manager, Membership, Start};
use skep_worker::SessionState;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    enroll::{self, EnrollError},
    member::{MemberError, Shared},
};

/// Why an effect did not come about, in a sentence.
#[derive(Debug, thiserror::Error)]
enum EffectError {
    #[error("it was given up: something else is wanted now, or it took too long")]
    GivenUp,
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    #[error(transparent)]
    Member(#[from] MemberError),
}

impl From<skep_manager::ManagerError> for EffectError {
    fn from(error: skep_manager::ManagerError) -> Self {
        Self::Member(error.into())
    }
}

/// What is under way.
#[derive(Default)]
struct Running {
    tasks: JoinSet<(Effect, Result<(), EffectError>)>,
    tokens: BTreeMap<Effect, CancellationToken>,
}

impl Shared {
    /// Goes on until `stop`; returns when every effect has ended.
    pub(super) async fn supervise(
        self: Arc<Self>,
        mut session: watch::Receiver<SessionState>,
        stop: CancellationToken,
    ) {
        let clock = SystemClock::new();
        let mut supervisor = Supervisor::default();
        let mut running = Running::default();
        let mut identity = self.certificates.shown().changed();
        let mut failures = BTreeMap::<Effect, String>::new();
        while !stop.is_cancelled() {
            let wish = wish(&session.borrow_and_update());
            identity.mark_unchanged();
            let (now, manager) = (clock.now(), self.manager.borrow().clone());
            let mut status = manager.as_ref().map(Manager::status);
            let situation = Situation {
                wish,
                certificate: self.certificates.refresh(now),
                manager: match status.as_mut().map(|status| status.borrow_and_update().membership) {
                    None => ManagerState::Stopped { has_state: self.dir.manager().exists() },
                    Some(Membership::Removed) => ManagerState::Disowned,
                    Some(Membership::Pending | Membership::Member) => {
                        ManagerState::Runs { can_issue: manager.is_some_and(|manager| manager.can_issue_own()) }
                    }
                },
            };
            let decision = supervisor.next(&situation, now, clock.monotonic());
            for effect in decision.give_up {
                if let Some(token) = running.tokens.get(&effect) {
                    token.cancel();
                }
            }
            for effect in decision.begin {
                let token = stop.child_token();
                running.tokens.insert(effect, token.clone());
                let shared = Arc::clone(&self);
                running.tasks.spawn(async move { (effect, shared.perform(effect, token).await) });
            }
            failures.retain(|effect, _| decision.wanted.contains(effect));
            self.trouble.send_replace(failures.values().next_back().cloned().unwrap_or_default());
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(decision.look_again) => {}
                Ok(()) = session.changed() => {}
                Ok(()) = identity.changed() => {}
                () = changed(status.as_mut()) => {}
                Some(Ok((effect, result))) = running.tasks.join_next() => {
                    running.tokens.remove(&effect);
                    supervisor.ended(effect, result.is_ok(), clock.monotonic(), random::fraction());
                    match result {
                        Ok(()) => _ = failures.remove(&effect),
                        Err(EffectError::GivenUp) => info!(?effect, "given up"),
                        Err(error) => {
                            warn!(?effect, %error, "this node could not follow the swarm's wish; trying again");
                            failures.insert(effect, error.to_string());
                        }
                    }
                }
            }
        }
        while running.tasks.join_next().await.is_some() {}
    }

    async fn perform(&self, effect: Effect, given_up: CancellationToken) -> Result<(), EffectError> {
        match effect {
            Effect::Renew => given_up.run_until_cancelled(self.renew()).await.unwrap_or(Err(EffectError::GivenUp)),
            Effect::IssueOwn => self.issue_own(),
            Effect::Start => self.start_or_join(&given_up).await,
            Effect::Retire => {
                self.retire_manager().await;
                Ok(())
            }
        }
    }

    /// Gets a certificate for the role the swarm wants this node to have, from whichever manager answers.
    async fn renew(&self) -> Result<(), EffectError> {
        let current = self.certificates.shown().current();
        let mut last = EnrollError::Unreachable("no manager is known".to_owned());
        for manager in self.managers.list() {
            match enroll::renew(&self.dialer, &manager.addr, current.roots_pem(), &self.dir.next_key()).await {
                Ok(identity) => {
                    let role = identity.role();
                    self.certificates.install(identity)?;
                    info!(?role, "the node has a new certificate");
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// Lets the manager of this node issue a certificate; a proper one is asked for as soon as the managers can decide.
    fn issue_own(&self) -> Result<(), EffectError> {
        let Some(manager) = self.manager.borrow().clone() else { return Err(EffectError::GivenUp) };
        let identity = manager.issue_own()?;
        warn!(
            "this manager's certificate is not valid: until it is renewed one stands in for it that this manager has issued itself, from the state it holds"
        );
        self.certificates.stand_in(identity);
        Ok(())
    }

    /// Starts the manager of a node that was one before, or has just been promoted.
    async fn start_or_join(&self, given_up: &CancellationToken) -> Result<(), EffectError> {
        let listen = async || -> Result<_, EffectError> {
            let bound = given_up.run_until_cancelled(super::member::bind(self.record.listen_addr)).await;
            Ok(bound.ok_or(EffectError::GivenUp)??)
        };
        if self.dir.manager().exists() {
            let resume = Start::Resume { remotes: self.other_managers() };
            match self.start_manager(listen().await?, resume, given_up).await {
                Err(_) if given_up.is_cancelled() => return Err(EffectError::GivenUp),
                Err(MemberError::Manager(skep_manager::ManagerError::Wiped(_))) => {
                    warn!("this manager's log is gone: it joins anew, under a new Raft id");
                    self.wipe_manager().await;
                }
                other => return Ok(other?),
            }
        }
        // The others see whether they can reach it before they take it in.
        let listen = listen().await?;
        let (addr, remotes) = (self.record.advertise_addr.to_string(), self.other_managers());
        let joined =
            given_up.run_until_cancelled(skep_manager::join(&self.dialer, &remotes, &addr, FEATURE_LEVEL)).await;
        let joined = joined.ok_or(EffectError::GivenUp)??;
        let started = self.start_manager(listen, Start::Join { joined, remotes }, given_up).await;
        if started.is_err() {
            self.wipe_manager().await;
        }
        if given_up.is_cancelled() { started.map_err(|_| EffectError::GivenUp) } else { Ok(started?) }
    }

    /// Stops the manager for good: its Raft id is never used again.
    async fn retire_manager(&self) {
        self.stop_manager().await;
        self.wipe_manager().await;
        info!("this node no longer manages the swarm");
    }
}

fn wish(session: &SessionState) -> Wish {
    match session.node_role() {
        _ if session.is_removed() => Wish::Nothing,
        Some(role) => Wish::Role(role),
        None => Wish::Unheard,
    }
}

async fn changed<T>(watch: Option<&mut watch::Receiver<T>>) {
    if let Some(watch) = watch
        && watch.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
