//! `skep service explain`, `skep task explain`, `skep node explain` and `skep swarm history`.

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;
use skep_dockerapi::{
    time::Time,
    types::{Explanation, HistoryEntry, NodeVerdict},
};

use super::{
    Context, moment,
    names::{Names, node_key},
};
use crate::{
    args::{HistoryArgs, NodeExplainArgs, ServiceExplainArgs, TaskCommand},
    output::{
        Table,
        text::short_id,
        units::{ago, now},
    },
};

pub(super) async fn service(context: &mut Context, args: &ServiceExplainArgs) -> Result<()> {
    explain(context, &["services", &args.service, "explain"], &args.history, false).await
}

pub(super) async fn run(context: &mut Context, command: TaskCommand) -> Result<()> {
    let TaskCommand::Explain(args) = command;
    explain(context, &["tasks", &args.task, "explain"], &args.history, false).await
}

pub(super) async fn node(context: &mut Context, args: &NodeExplainArgs) -> Result<()> {
    let key = node_key(&context.client, &args.node).await?;
    explain(context, &["nodes", &key, "explain"], &args.history, false).await
}

pub(super) async fn swarm(context: &mut Context, args: &HistoryArgs) -> Result<()> {
    explain(context, &["swarm", "history"], args, true).await
}

/// Asks and shows. What happened to `several` things needs their names.
async fn explain(context: &mut Context, what: &[&str], args: &HistoryArgs, several: bool) -> Result<()> {
    let since = moment::query(args.since.as_deref(), now(), TimeZone::system())?;
    let limit = args.limit.map(|limit| limit.to_string()).unwrap_or_default();
    let answer = context.client.explain(what, &since, &limit).await?;
    if let Some(format) = &args.format {
        return Ok(context.printer.text(format.one(&answer)?)?);
    }
    let explanation: Explanation = serde_json::from_value(answer).context("the daemon's answer is no explanation")?;
    let subjects = if several { Some(subjects(context, &explanation.history).await?) } else { None };
    Ok(context.printer.text(show(&explanation, subjects.as_deref(), now()))?)
}

/// What each entry is about, by name.
async fn subjects(context: &Context, entries: &[HistoryEntry]) -> Result<Vec<String>> {
    let mut names = Names::new(&context.client, false);
    let mut subjects = Vec::with_capacity(entries.len());
    for entry in entries {
        subjects.push(match (entry.service_id.as_str(), entry.node_id.as_str()) {
            ("", "") => "swarm".to_owned(),
            ("", node) => format!("node {}", names.node(node).await?),
            (service, _) => format!("service {}", names.service(service).await?),
        });
    }
    Ok(subjects)
}

/// `subjects`: what each entry of the history is about, where that is not all the same.
fn show(explanation: &Explanation, subjects: Option<&[String]>, now: Time) -> String {
    let mut text = format!("{}\n", explanation.text);
    if !explanation.nodes.is_empty() {
        text += &format!("\n{}", nodes(&explanation.nodes));
    }
    if !explanation.history.is_empty() {
        let history = match subjects {
            Some(subjects) => of_several(&explanation.history, subjects, now),
            None if explanation.history.iter().all(|entry| entry.task_id.is_empty()) => {
                of_one(&explanation.history, now)
            }
            None => with_tasks(&explanation.history, now),
        };
        text += &format!("\n{history}");
    }
    text
}

fn nodes(nodes: &[NodeVerdict]) -> Table {
    let mut table = Table::new(&["NODE", "FITS", "SERVICE'S TASKS", "ALL TASKS", "FAILURES", "PREFERENCES", "REASON"]);
    for node in nodes {
        table.row([
            if node.hostname.is_empty() { node.id.clone() } else { node.hostname.clone() },
            if node.fits { "yes" } else { "no" }.to_owned(),
            node.tasks_of_service.to_string(),
            node.tasks.to_string(),
            node.recent_failures.to_string(),
            node.preferences.join(", "),
            node.reason.clone(),
        ]);
    }
    table
}

fn of_one(entries: &[HistoryEntry], now: Time) -> Table {
    let mut table = Table::new(&["WHEN", "BY", "WHAT"]);
    for entry in entries {
        table.row([ago(entry.time, now), entry.by.clone(), entry.text.clone()]);
    }
    table
}

fn of_several(entries: &[HistoryEntry], subjects: &[String], now: Time) -> Table {
    let mut table = Table::new(&["WHEN", "BY", "OF", "WHAT"]);
    for (entry, subject) in entries.iter().zip(subjects) {
        table.row([ago(entry.time, now), entry.by.clone(), subject.clone(), entry.text.clone()]);
    }
    table
}

fn with_tasks(entries: &[HistoryEntry], now: Time) -> Table {
    let mut table = Table::new(&["WHEN", "BY", "SLOT", "TASK", "WHAT"]);
    for entry in entries {
        table.row([
            ago(entry.time, now),
            entry.by.clone(),
            if entry.slot == 0 { String::new() } else { entry.slot.to_string() },
            short_id(&entry.task_id).to_owned(),
            entry.text.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{client::testing::FakeDaemon, commands::testing};

    fn explanation() -> serde_json::Value {
        json!({
            "Text": "web has 0 of 1 replicas running. 1 task pending: no suitable node.",
            "Nodes": [
                {"ID": "id1", "Hostname": "n1", "Fits": true, "TasksOfService": 2, "Tasks": 5, "RecentFailures": 1, "Preferences": ["east"]},
                {"ID": "id2", "Fits": false, "Reason": "insufficient resources"},
            ],
            "History": [
                {"Time": "1970-01-01T00:01:30Z", "By": "scheduler", "Slot": 1, "TaskID": "7d7xjd9dtya2xxxxxxxxxxxxx", "Text": "waits: no suitable node"},
                {"Time": "1970-01-01T00:01:00Z", "By": "user via n1", "Text": "created: 1 replica of skep/demo:1"},
            ],
        })
    }

    #[test]
    fn the_paragraph_then_the_nodes_then_what_happened() {
        let explanation: Explanation = serde_json::from_value(explanation()).unwrap();
        let expected = "\
web has 0 of 1 replicas running. 1 task pending: no suitable node.

NODE      FITS      SERVICE'S TASKS   ALL TASKS   FAILURES   PREFERENCES   REASON
n1        yes       2                 5           1          east          
id2       no        0                 0           0                        insufficient resources

WHEN                 BY            SLOT      TASK           WHAT
30 seconds ago       scheduler     1         7d7xjd9dtya2   waits: no suitable node
About a minute ago   user via n1                            created: 1 replica of skep/demo:1
";
        assert_eq!(show(&explanation, None, Time(120_000_000_000)), expected);
        assert_eq!(show(&Explanation { text: "x".into(), ..Explanation::default() }, None, Time(0)), "x\n");
    }

    #[tokio::test]
    async fn services_and_tasks_are_asked_about_by_name() {
        let daemon = FakeDaemon::new()
            .on("GET /v1.46/skep/services/web/explain", explanation())
            .on("GET /v1.46/skep/tasks/7d7x/explain", json!({"Text": "web.1 waits for nothing."}))
            .refusing("GET /v1.46/skep/services/nosuch/explain", 404, "service nosuch not found");
        assert!(testing::prints(&daemon, &["service", "explain", "web"]).await.starts_with("web has 0 of 1"));
        assert_eq!(testing::prints(&daemon, &["task", "explain", "7d7x"]).await, "web.1 waits for nothing.\n");
        let (_, refused) = testing::run(&daemon, &["service", "explain", "nosuch"]).await;
        assert_eq!(refused, Err("Error response from daemon: service nosuch not found".to_owned()));
    }

    #[tokio::test]
    async fn nodes_and_the_swarm_have_a_history_too() {
        let entry = |seconds: u8, of: serde_json::Value, text: &str| {
            let mut entry =
                json!({"Time": format!("1970-01-01T00:00:{seconds:02}Z"), "By": "user via n1", "Text": text});
            entry.as_object_mut().unwrap().extend(of.as_object().unwrap().clone());
            entry
        };
        let drained = entry(30, json!({"NodeID": "id2"}), "drained: its tasks have to leave");
        let swarm = json!({"Text": "The swarm has 2 managers.", "History": [
            drained,
            entry(20, json!({"ServiceID": "s1"}), "created: 1 replica of a"),
            entry(10, json!({}), "the swarm's settings changed"),
        ]});
        let daemon = FakeDaemon::new()
            .on("GET /v1.46/skep/nodes/n2/explain", json!({"Text": "n2 is drained.", "History": [drained]}))
            .on("GET /v1.46/skep/swarm/history", swarm.clone())
            .on("GET /v1.46/skep/swarm/history?since=5.000000000&limit=2", json!({"Text": "x"}))
            .on("GET /v1.46/nodes/id2", json!({"ID": "id2", "Description": {"Hostname": "n2"}}))
            .refusing("GET /v1.46/services/s1", 404, "service s1 not found");
        let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        let node = words(testing::prints(&daemon, &["node", "explain", "n2"]).await);
        assert!(node.starts_with("n2 is drained. WHEN BY WHAT "), "{node}");
        assert!(node.ends_with("years ago user via n1 drained: its tasks have to leave"), "{node}");
        let history = testing::prints(&daemon, &["swarm", "history"]).await;
        let lines: Vec<String> = history.lines().skip(2).map(|line| words(line.to_owned())).collect();
        assert_eq!(lines[0], "WHEN BY OF WHAT");
        assert!(lines[1].ends_with("user via n1 node n2 drained: its tasks have to leave"), "{lines:?}");
        assert!(lines[2].ends_with("service s1 created: 1 replica of a"), "gone, so only its id is known: {lines:?}");
        assert!(lines[3].ends_with("swarm the swarm's settings changed"), "{lines:?}");
        assert_eq!(testing::prints(&daemon, &["swarm", "history", "--since", "5", "--limit", "2"]).await, "x\n");
        let text = testing::prints(&daemon, &["swarm", "history", "--format", "{{.Text}}"]).await;
        assert_eq!(text, "The swarm has 2 managers.\n");
        let whole = testing::prints(&daemon, &["swarm", "history", "--format", "json"]).await;
        assert_eq!(serde_json::from_str::<serde_json::Value>(&whole).unwrap(), swarm);
    }
}
