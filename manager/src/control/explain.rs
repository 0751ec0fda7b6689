//! `explain` and `history`: why an object is in its state, and what happened to it. Read-only.

use std::io;

use skep_common::{
    clock::Timestamp,
    limits::{HISTORY, JOURNAL_AGE, MAX_HISTORY},
};
use skep_core::{
    explain::{self, Explanation},
    journal, names,
};
use skep_proto::v1::{ExplainReply, ExplainRequest, JournalEntry, NodeVerdict, ObjectKind, explain_request::What};
use skep_store::{AnyObject, View};
use tokio::task::spawn_blocking;
use tonic::Status;

use crate::{
    answer,
    journal::{About, Gap, Journal},
    swarm_state::SwarmState,
};

pub(super) async fn explain(
    swarm: &SwarmState,
    journal: &Journal,
    request: ExplainRequest,
) -> Result<ExplainReply, Status> {
    let what = request.what.ok_or_else(|| Status::invalid_argument("nothing to explain is named"))?;
    let limit = match usize::try_from(request.limit).unwrap_or(usize::MAX) {
        0 => HISTORY,
        limit => limit.min(MAX_HISTORY),
    };
    let view = swarm.read().await?;
    let now = swarm.now();
    let subject = subject(&view, what)?;
    let asked = History { oldest: Timestamp(request.since).max(now - JOURNAL_AGE), begun: subject.made_at(), limit };
    let (journal, newest) = (journal.clone(), view.clone());
    // Both may take a moment: there may be many nodes, and a long journal.
    let found = spawn_blocking(move || {
        let explanation = subject.explain(&newest, now);
        (explanation, asked.find(&newest, &journal, &subject.about()))
    });
    let (explanation, history) =
        found.await.map_err(|error| Status::internal(format!("the explanation failed: {error}")))?;
    let mut text = explanation.text;
    let history = match history {
        Ok((history, unseen)) => {
            text.extend(unseen.map(|unseen| format!(" {unseen}")));
            history
        }
        Err(error) => {
            text += &format!(" What happened before is not known: the journal cannot be read ({error}).");
            Vec::new()
        }
    };
    let nodes = explanation.nodes.into_iter().map(|verdict| verdict_of(&view, verdict)).collect();
    Ok(ExplainReply { text, nodes, history })
}

/// What is to be explained.
enum Subject {
    Object(AnyObject),
    Swarm,
}

fn subject(view: &View, what: What) -> Result<Subject, Status> {
    let found = match what {
        What::Service(key) => view.find_service(&key).map(|service| service.clone().into()),
        What::Task(key) => view.find_task(&key).map(|task| task.clone().into()),
        What::Node(key) => view.find_node(&key).map(|node| node.clone().into()),
        What::Swarm(_) => return Ok(Subject::Swarm),
    };
    found.map(Subject::Object).map_err(|error| answer::not_found(&error))
}

impl Subject {
    fn explain(&self, view: &View, now: Timestamp) -> Explanation {
        match self {
            Self::Object(AnyObject::Service(service)) => explain::service(view, service, now),
            Self::Object(AnyObject::Task(task)) => explain::task(view, task, now),
            Self::Object(AnyObject::Node(node)) => explain::node(view, node, now),
            Self::Object(AnyObject::Cluster(_) | AnyObject::Revision(_)) | Self::Swarm => explain::swarm(view),
        }
    }

    fn about(&self) -> About {
        match self {
            Self::Object(AnyObject::Service(service)) => About::Service(service.id.clone()),
            Self::Object(AnyObject::Task(task)) => match (task.slot, task.node_id.as_str()) {
                (0, "") => About::Task(task.id.clone()),
                (slot, node) => About::Slot { service: task.service_id.clone(), slot, node: node.to_owned() },
            },
            Self::Object(AnyObject::Node(node)) => About::Node(node.id.clone()),
            Self::Object(AnyObject::Cluster(_) | AnyObject::Revision(_)) | Self::Swarm => About::Swarm,
        }
    }

    /// When it began to have a history. A task's place had one before the task.
    fn made_at(&self) -> Timestamp {
        match self {
            Self::Object(object @ (AnyObject::Service(_) | AnyObject::Node(_))) => {
                Timestamp(object.meta().map_or(0, |meta| meta.created_at))
            }
            Self::Object(AnyObject::Task(_) | AnyObject::Cluster(_) | AnyObject::Revision(_)) | Self::Swarm => {
                Timestamp::ZERO
            }
        }
    }
}

/// How much history is asked for.
struct History {
    oldest: Timestamp,
    /// Before this there was none.
    begun: Timestamp,
    limit: usize,
}

impl History {
    /// What is known of it, newest first, and a sentence about what is not. Where the journal has a gap, it is said how what
    /// changed in it stands.
    fn find(&self, view: &View, journal: &Journal, about: &About) -> io::Result<(Vec<JournalEntry>, Option<String>)> {
        let mut found = journal.newest(about, self.oldest, self.limit)?;
        let mut gaps = journal.gaps()?;
        gaps.retain(|gap| gap.until.is_none_or(|until| until > self.oldest.max(self.begun)));
        found.extend(current_states(view, about, &gaps).into_iter().filter(|entry| entry.at >= self.oldest.as_nanos()));
        found.sort_by_key(|entry| std::cmp::Reverse(entry.version));
        found.truncate(self.limit);
        // Where the list is cut off before a gap, the gap is no news.
        if let Some(last) = found.get(self.limit - 1) {
            gaps.retain(|gap| gap.upto > last.version);
        }
        let unseen: Vec<_> = gaps.iter().map(|gap| (gap.from, gap.until)).collect();
        Ok((found, explain::unseen(&unseen)))
    }
}

/// How everything stands whose last change is in a gap.
fn current_states(view: &View, about: &About, gaps: &[Gap]) -> Vec<JournalEntry> {
    if gaps.is_empty() {
        return Vec::new();
    }
    let of_service = |id: &String| -> Vec<AnyObject> {
        let tasks = view.tasks_of_service(id).cloned().map(AnyObject::from);
        view.object(ObjectKind::Service, id).into_iter().chain(tasks).collect()
    };
    let objects = match about {
        About::Service(service) | About::Slot { service, .. } => of_service(service),
        About::Task(task) => view.object(ObjectKind::Task, task).into_iter().collect(),
        About::Node(node) => view.object(ObjectKind::Node, node).into_iter().collect(),
        About::Swarm => {
            let services = view.services().cloned().map(AnyObject::from);
            view.nodes().cloned().map(AnyObject::from).chain(services).collect()
        }
    };
    let in_gap = |object: &&AnyObject| gaps.iter().any(|gap| gap.includes(object.version()));
    let entries = objects.iter().filter(in_gap).filter_map(|object| journal::current_state(view, object));
    entries.filter(|entry| about.includes(entry)).collect()
}

fn verdict_of(view: &View, verdict: skep_core::scheduler::explain::Verdict) -> NodeVerdict {
    let hostname = view.node(&verdict.node_id).map_or("", |node| names::node(node));
    NodeVerdict {
        hostname: hostname.to_owned(),
        fits: verdict.filter_failure.is_none(),
        reason: verdict.filter_failure.unwrap_or_default(),
        recent_failures: verdict.failures,
        tasks_of_service: verdict.service_tasks,
        tasks: verdict.tasks,
        preferences: verdict.spread.into_iter().map(|(value, _)| value).collect(),
        node_id: verdict.node_id,
    }
}
