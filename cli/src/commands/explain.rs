//! `skep service explain` and `skep task explain`.

use anyhow::Result;
use skep_dockerapi::{
    time::Time,
    types::{Explanation, HistoryEntry, NodeVerdict},
};

use super::Context;
use crate::{
    args::TaskCommand,
    output::{
        Table,
        text::short_id,
        units::{ago, now},
    },
};

pub(super) async fn service(context: &mut Context, key: &str) -> Result<()> {
    let explanation = context.client.explain_service(key).await?;
    Ok(context.printer.text(show(&explanation, now()))?)
}

pub(super) async fn run(context: &mut Context, command: TaskCommand) -> Result<()> {
    let TaskCommand::Explain(args) = command;
    let explanation = context.client.explain_task(&args.task).await?;
    Ok(context.printer.text(show(&explanation, now()))?)
}

fn show(explanation: &Explanation, now: Time) -> String {
    let mut text = format!("{}\n", explanation.text);
    if !explanation.nodes.is_empty() {
        text += &format!("\n{}", nodes(&explanation.nodes));
    }
    if !explanation.history.is_empty() {
        text += &format!("\n{}", history(&explanation.history, now));
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

fn history(entries: &[HistoryEntry], now: Time) -> Table {
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
        assert_eq!(show(&explanation, Time(120_000_000_000)), expected);
        assert_eq!(show(&Explanation { text: "x".into(), ..Explanation::default() }, Time(0)), "x\n");
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
}
