//! `skep events`.

use anyhow::Result;
use jiff::tz::TimeZone;
use skep_dockerapi::types::Event;

use super::{Context, filters, moment};
use crate::{
    args::EventsArgs,
    output::units::{local_time, now},
};

pub(super) async fn run(context: &mut Context, args: EventsArgs) -> Result<()> {
    let zone = TimeZone::system();
    let since = moment::query(args.since.as_deref(), now(), zone.clone())?;
    let until = moment::query(args.until.as_deref(), now(), zone.clone())?;
    let mut events = context.client.events(&filters(&args.filters), &since, &until).await?;
    while let Some(event) = events.value::<Event>().await? {
        context.printer.line(line(&event, zone.clone()))?;
    }
    Ok(())
}

/// `2024-05-06T07:08:09.000000000Z service update ID (name=web, replicas.new=3)`.
fn line(event: &Event, zone: TimeZone) -> String {
    let at = if event.time_nano == 0 { event.time.saturating_mul(1_000_000_000) } else { event.time_nano };
    let mut line = format!("{} {} {} {}", local_time(at, zone), event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let attributes: Vec<String> =
            event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        line.push_str(&format!(" ({})", attributes.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{client::testing::FakeDaemon, commands::testing::run};

    #[test]
    fn an_event_is_a_line() {
        let event: Event = serde_json::from_value(json!({
            "Type": "service", "Action": "update", "Actor": {"ID": "s1", "Attributes": {"name": "web", "replicas.new": "3"}},
            "time": 1_714_979_289, "timeNano": 1_714_979_289_000_000_001_i64,
        }))
        .unwrap();
        let expected = "2024-05-06T07:08:09.000000001Z service update s1 (name=web, replicas.new=3)";
        assert_eq!(line(&event, TimeZone::UTC), expected);
    }

    #[tokio::test]
    async fn events_run_together_or_apart_and_a_broken_one_is_an_error() {
        let event = |id: &str| json!({"Type": "node", "Action": "create", "Actor": {"ID": id}, "time": 1}).to_string();
        let stream = format!("{}{}\n\n{}\n{{\"Type\":", event("n1"), event("n2"), event("n3"));
        let path = "GET /v1.46/events?filters=%7B%22type%22%3A%7B%22node%22%3Atrue%7D%7D&since=5.000000000";
        let daemon = FakeDaemon::new().on_bytes(path, stream);
        let (captured, result) = run(&daemon, &["events", "--filter", "type=node", "--since", "5"]).await;
        let out = captured.out();
        let ids: Vec<&str> = out.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(ids, ["n1", "n2", "n3"]);
        assert_eq!(result, Err("the daemon's answer broke off: the connection was closed".into()));
    }
}
