//! Explanations and forecasts.

use skep_proto::v1::{self as proto, what_if_request::What};

use super::{Invalid, insert_defaults, service_spec_from_docker};
use crate::{
    time::Time,
    types::{Effect, Explanation, Forecast, HistoryEntry, Move, NodeVerdict, ServiceSpec, WhatIf},
};

impl From<proto::ExplainReply> for Explanation {
    fn from(reply: proto::ExplainReply) -> Self {
        Self {
            text: reply.text,
            nodes: reply.nodes.into_iter().map(NodeVerdict::from).collect(),
            history: reply.history.into_iter().map(HistoryEntry::from).collect(),
        }
    }
}

impl From<proto::rebalance_service_reply::Move> for Move {
    fn from(one: proto::rebalance_service_reply::Move) -> Self {
        Self { slot: one.slot, task_id: one.task_id, from_node: one.from_node, to_node: one.to_node }
    }
}

impl From<proto::NodeVerdict> for NodeVerdict {
    fn from(verdict: proto::NodeVerdict) -> Self {
        Self {
            id: verdict.node_id,
            hostname: verdict.hostname,
            fits: verdict.fits,
            reason: verdict.reason,
            recent_failures: verdict.recent_failures,
            tasks_of_service: verdict.tasks_of_service,
            tasks: verdict.tasks,
            preferences: verdict.preferences,
        }
    }
}

impl From<proto::JournalEntry> for HistoryEntry {
    fn from(entry: proto::JournalEntry) -> Self {
        Self {
            time: Time(entry.at),
            version: entry.version,
            by: entry.by,
            service_id: entry.service_id,
            task_id: entry.task_id,
            node_id: entry.node_id,
            slot: entry.slot,
            text: entry.text,
        }
    }
}

impl From<proto::WhatIfReply> for Forecast {
    fn from(reply: proto::WhatIfReply) -> Self {
        let effect = |effect: proto::what_if_reply::Effect| Effect {
            service: effect.service,
            slot: effect.slot,
            from: effect.from_node,
            to: effect.to_node,
            reason: effect.reason,
        };
        Self { effects: reply.effects.into_iter().map(effect).collect(), summary: reply.summary }
    }
}

/// What a client wants to imagine.
///
/// # Errors
/// [`Invalid`]: nothing, or several things, and what [`service_spec_from_docker`] refuses.
pub fn what_if_from_json(asked: WhatIf) -> Result<proto::WhatIfRequest, Invalid> {
    let WhatIf { drain, lose, lose_label, deploy } = asked;
    let mut whats = [
        (!drain.is_empty()).then_some(What::Drain(drain)),
        (!lose.is_empty()).then_some(What::Lose(proto::what_if_request::Nodes { keys: lose })),
        (!lose_label.is_empty()).then_some(What::LoseLabel(lose_label)),
        deploy.map(|spec| service_spec_from_docker(*spec)).transpose()?.map(What::Deploy),
    ]
    .into_iter()
    .flatten();
    match (whats.next(), whats.next()) {
        (Some(what), None) => Ok(proto::WhatIfRequest { what: Some(what) }),
        _ => Err(Invalid("exactly one of Drain, Lose, LoseLabel and Deploy must be given".to_owned())),
    }
}

/// Undoes [`insert_defaults`] wherever it wrote out what `present`, the service's own spec, leaves open: a spec that was
/// read with defaults is again the one it was read from, and only what was edited differs.
pub fn omit_defaults(spec: &mut ServiceSpec, present: &ServiceSpec) {
    fn undo<T: Clone + PartialEq>(field: &mut T, filled: &T, present: &T) {
        if field == filled {
            field.clone_from(present);
        }
    }
    let mut filled = present.clone();
    insert_defaults(&mut filled);
    let (task, full, open) = (&mut spec.task_template, &filled.task_template, &present.task_template);
    if let (Some(task), Some(full), Some(open)) = (&mut task.container_spec, &full.container_spec, &open.container_spec)
    {
        undo(&mut task.stop_grace_period, &full.stop_grace_period, &open.stop_grace_period);
        undo(&mut task.dns_config, &full.dns_config, &open.dns_config);
    }
    undo(&mut task.resources, &full.resources, &open.resources);
    undo(&mut task.placement, &full.placement, &open.placement);
    undo(&mut task.restart_policy, &full.restart_policy, &open.restart_policy);
    undo(&mut spec.update_config, &filled.update_config, &present.update_config);
    undo(&mut spec.rollback_config, &filled.rollback_config, &present.rollback_config);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ContainerSpec, RestartPolicy};

    #[test]
    fn a_spec_read_with_defaults_is_the_one_it_was_read_from_but_for_what_was_edited() {
        let mut present = ServiceSpec { name: "web".into(), ..ServiceSpec::default() };
        present.task_template.container_spec = Some(ContainerSpec { image: "a".into(), ..ContainerSpec::default() });
        present.task_template.restart_policy =
            Some(RestartPolicy { max_attempts: Some(3), ..RestartPolicy::default() });
        let mut read = present.clone();
        insert_defaults(&mut read);
        assert_ne!(read, present);
        let mut again = read.clone();
        omit_defaults(&mut again, &present);
        assert_eq!(again, present);

        let mut edited = read;
        edited.task_template.container_spec.as_mut().unwrap().stop_grace_period = Some(1);
        omit_defaults(&mut edited, &present);
        let mut expected = present.clone();
        expected.task_template.container_spec.as_mut().unwrap().stop_grace_period = Some(1);
        assert_eq!(edited, expected);
    }

    #[test]
    fn exactly_one_thing_is_imagined() {
        let drain = WhatIf { drain: "n1".into(), ..WhatIf::default() };
        assert_eq!(what_if_from_json(drain.clone()).unwrap().what, Some(What::Drain("n1".into())));
        let lose = WhatIf { lose: vec!["n1".into(), "n2".into()], ..WhatIf::default() };
        let Some(What::Lose(nodes)) = what_if_from_json(lose.clone()).unwrap().what else { panic!("nodes went in") };
        assert_eq!(nodes.keys, ["n1", "n2"]);
        assert!(what_if_from_json(WhatIf::default()).is_err());
        assert!(what_if_from_json(WhatIf { lose: lose.lose, ..drain }).is_err());
    }
}
