//! Explanations and forecasts.

use skep_proto::v1::{self as proto, what_if_request::What};

use super::{Invalid, service_spec_from_docker};
use crate::{
    time::Time,
    types::{Effect, Explanation, Forecast, HistoryEntry, NodeVerdict, WhatIf},
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

#[cfg(test)]
mod tests {
    use super::*;

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
