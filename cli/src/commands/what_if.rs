//! `skep what-if`: a line for each effect, and a sentence.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use skep_dockerapi::types::Effect;

use super::{Context, names::node_key};
use crate::args::{DeployArgs, WhatIfCommand};

pub(super) async fn run(context: &mut Context, command: WhatIfCommand) -> Result<()> {
    let asked = match command {
        WhatIfCommand::Drain(args) => json!({ "Drain": node_key(&context.client, &args.node).await? }),
        WhatIfCommand::Lose(args) => lose(context, &args.nodes).await?,
        WhatIfCommand::Deploy(args) => json!({ "Deploy": spec(args)? }),
    };
    let forecast = context.client.what_if(&asked).await?;
    for effect in &forecast.effects {
        context.printer.line(words(effect))?;
    }
    Ok(context.printer.line(&forecast.summary)?)
}

async fn lose(context: &Context, typed: &[String]) -> Result<Value> {
    match typed {
        [label] if label.contains('=') => Ok(json!({ "LoseLabel": label })),
        nodes if nodes.iter().any(|node| node.contains('=')) => bail!("name either nodes or one label=value"),
        nodes => {
            let mut keys = Vec::with_capacity(nodes.len());
            for node in nodes {
                keys.push(node_key(&context.client, node).await?);
            }
            Ok(json!({ "Lose": keys }))
        }
    }
}

/// The spec in what was given: itself, or inside what `service inspect` prints of one service.
fn spec(args: DeployArgs) -> Result<Value> {
    let (text, from) = match (args.spec, args.file) {
        (Some(text), _) => (text, "--spec".to_owned()),
        (None, Some(file)) => {
            let from = file.display().to_string();
            (std::fs::read_to_string(&file).with_context(|| format!("cannot read {from}"))?, from)
        }
        (None, None) => bail!("name a file, or give --spec"),
    };
    let mut value: Value = serde_json::from_str(&text).with_context(|| format!("{from} is no JSON"))?;
    if let Value::Array(services) = value {
        let Ok([service]) = <[Value; 1]>::try_from(services) else {
            bail!("{from} must hold exactly one service");
        };
        value = service;
    }
    match value {
        Value::Object(mut object) => Ok(object.remove("Spec").unwrap_or(Value::Object(object))),
        _ => bail!("{from} holds no service spec"),
    }
}

fn words(effect: &Effect) -> String {
    let Effect { service, slot, from, to, reason } = effect;
    let task = if *slot == 0 { service.clone() } else { format!("{service}.{slot}") };
    match (from.as_str(), to.as_str()) {
        (from, to) if from == to && !to.is_empty() => format!("{task} is replaced on {to}"),
        ("", "") => format!("{task} finds no place: {reason}"),
        ("", to) => format!("{task} starts on {to}"),
        (from, "") => format!("{task} leaves {from} and goes nowhere: {reason}"),
        (from, to) => format!("{task} moves from {from} to {to}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::testing::FakeDaemon, commands::testing};

    fn effect(slot: u64, from: &str, to: &str, reason: &str) -> Value {
        json!({ "Service": "web", "Slot": slot, "From": from, "To": to, "Reason": reason })
    }

    fn daemon() -> FakeDaemon {
        let effects = [
            effect(1, "n2", "n1", ""),
            effect(2, "", "n3", ""),
            effect(3, "n2", "", "no suitable node"),
            effect(0, "n2", "", "one task on each node"),
            effect(4, "n1", "n1", ""),
            effect(5, "", "", "no suitable node"),
        ];
        let answer = json!({ "Effects": effects, "Summary": "If n2 were drained, much would happen." });
        FakeDaemon::new().on("POST /v1.46/skep/what-if", answer)
    }

    #[tokio::test]
    async fn a_line_for_each_effect_and_a_sentence() {
        let expected = "\
web.1 moves from n2 to n1
web.2 starts on n3
web.3 leaves n2 and goes nowhere: no suitable node
web leaves n2 and goes nowhere: one task on each node
web.4 is replaced on n1
web.5 finds no place: no suitable node
If n2 were drained, much would happen.
";
        assert_eq!(testing::prints(&daemon(), &["what-if", "drain", "n2"]).await, expected);
    }

    #[tokio::test]
    async fn what_was_typed_is_what_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("web.json");
        std::fs::write(&file, r#"[{"ID": "x", "Spec": {"Name": "web"}}]"#).unwrap();
        let file = file.to_str().unwrap();
        let table: [(&[&str], Value); 5] = [
            (&["drain", "n2"], json!({ "Drain": "n2" })),
            (&["lose", "n1", "n2"], json!({ "Lose": ["n1", "n2"] })),
            (&["lose", "zone=east"], json!({ "LoseLabel": "zone=east" })),
            (&["deploy", "--spec", r#"{"Name": "web"}"#], json!({ "Deploy": { "Name": "web" } })),
            (&["deploy", file], json!({ "Deploy": { "Name": "web" } })),
        ];
        for (line, expected) in table {
            let daemon = daemon();
            testing::prints(&daemon, &[&["what-if"], line].concat()).await;
            assert_eq!(daemon.sent("POST /v1.46/skep/what-if"), expected, "{line:?}");
        }
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_said_before_anything_is_asked() {
        let table: [(&[&str], &str); 4] = [
            (&["lose", "n1", "zone=east"], "name either nodes or one label=value"),
            (&["deploy", "/nonexistent"], "cannot read /nonexistent"),
            (&["deploy", "--spec", "[]"], "--spec must hold exactly one service"),
            (&["deploy", "--spec", "7"], "--spec holds no service spec"),
        ];
        for (line, expected) in table {
            let (_, refused) = testing::run(&daemon(), &[&["what-if"], line].concat()).await;
            let refused = refused.unwrap_err();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }
}
