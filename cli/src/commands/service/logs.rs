//! `skep service logs`: frames of the log stream, made into lines that say whose they are.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::tz::TimeZone;
use skep_dockerapi::types::{ContainerSpec, TaskSpec};

use super::super::{Context, moment, names::Names};
use crate::{
    args::ServiceLogsArgs,
    client::{ByteStream, Client, LogQuery, LogSource},
    output::{Printer, text::short_id, units::now},
};

/// Stream, three zeros, length.
const FRAME_HEADER: usize = 8;

/// The stream of error output.
const STDERR: u8 = 2;

/// What every line's attributes name.
const KEYS: [&str; 3] = ["com.docker.swarm.node.id", "com.docker.swarm.service.id", "com.docker.swarm.task.id"];

pub(super) async fn run(context: &mut Context, args: ServiceLogsArgs) -> Result<()> {
    let source = find(&context.client, &args.target).await?;
    if source.tty && !args.raw {
        bail!("tty service logs only supported with --raw");
    }
    let query = LogQuery {
        follow: args.follow,
        tail: args.tail.clone(),
        since: moment::query(args.since.as_deref(), now(), TimeZone::system())?,
        timestamps: args.timestamps,
        // Without them nobody knows whose line it is.
        details: args.details || !args.raw,
    };
    let mut stream = context.client.logs(&source.log, &query).await?;
    if source.tty {
        while let Some(bytes) = stream.next().await? {
            context.printer.bytes(&bytes)?;
        }
        return Ok(());
    }
    let mut prefixes = Prefixes {
        client: &context.client,
        names: Names::new(&context.client, args.no_resolve),
        args: &args,
        width: source.width,
        known: HashMap::new(),
    };
    print(&mut stream, &mut context.printer, &mut prefixes).await
}

async fn print(stream: &mut ByteStream, printer: &mut Printer, prefixes: &mut Prefixes<'_>) -> Result<()> {
    while let Some(header) = stream.take(FRAME_HEADER).await? {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let payload = match usize::try_from(length)? {
            0 => continue,
            length => stream.take(length).await?.context("the log ended inside of a line")?,
        };
        let line = if prefixes.args.raw { payload.to_vec() } else { prefixes.line(&payload).await? };
        if header[0] == STDERR { printer.error_bytes(&line)? } else { printer.bytes(&line)? }
    }
    Ok(())
}

/// Whose log, and how it looks.
struct Source {
    log: LogSource,
    tty: bool,
    /// Digits of the highest slot.
    width: usize,
}

async fn find(client: &Client, key: &str) -> Result<Source> {
    match client.service(key).await {
        Ok(service) => {
            let replicas = service.spec.mode.replicated.and_then(|replicated| replicated.replicas);
            return Ok(Source {
                log: LogSource::Service(service.id),
                tty: has_tty(&service.spec.task_template),
                width: replicas.map_or(1, digits),
            });
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    match client.task(key).await {
        Ok(task) => Ok(Source { tty: has_tty(&task.spec), width: digits(task.slot), log: LogSource::Task(task.id) }),
        Err(error) if error.is_not_found() => Err(anyhow!("no such task or service: {key}")),
        Err(error) => Err(error.into()),
    }
}

fn has_tty(spec: &TaskSpec) -> bool {
    matches!(spec.container_spec, Some(ContainerSpec { tty: true, .. }))
}

fn digits(number: u64) -> usize {
    number.to_string().len()
}

/// What stands before the lines of each task.
struct Prefixes<'a> {
    client: &'a Client,
    names: Names<'a>,
    args: &'a ServiceLogsArgs,
    width: usize,
    /// By task.
    known: HashMap<String, String>,
}

impl Prefixes<'_> {
    /// `[time ]prefix    | [details ]text` of a payload `[time ]attributes text`.
    async fn line(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let broken = || anyhow!("invalid context in log message: {}", String::from_utf8_lossy(payload));
        let mut parts = payload.splitn(if self.args.timestamps { 3 } else { 2 }, |byte| *byte == b' ');
        let mut line = Vec::with_capacity(payload.len() + 64);
        if self.args.timestamps {
            line.extend_from_slice(parts.next().ok_or_else(broken)?);
            line.push(b' ');
        }
        let attributes = parts.next().and_then(|part| std::str::from_utf8(part).ok()).ok_or_else(broken)?;
        let text = parts.next().ok_or_else(broken)?;
        let mut attributes = parse(attributes);
        let [node, service, task] = KEYS.map(|key| attributes.remove(key));
        let (Some(node), Some(service), Some(task)) = (node, service, task) else { return Err(broken()) };
        line.extend_from_slice(self.prefix(&node, &service, &task).await?.as_bytes());
        line.extend_from_slice(b"    | ");
        if self.args.details {
            let pairs: Vec<String> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
            line.extend_from_slice(pairs.join(",").as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(text);
        Ok(line)
    }

    /// `web.2.q55gfgtylnly@n1`, and blanks so that all lines of a service begin their text in one column.
    async fn prefix(&mut self, node: &str, service: &str, task: &str) -> Result<String> {
        if let Some(known) = self.known.get(task) {
            return Ok(known.clone());
        }
        let slot = match self.client.task(task).await {
            Ok(task) => task.slot,
            // Its lines outlive a task.
            Err(error) if error.is_not_found() => 0,
            Err(error) => return Err(error.into()),
        };
        let mut prefix = format!("{}.{slot}", self.names.service(service).await?);
        if !self.args.no_task_ids {
            prefix.push('.');
            prefix.push_str(if self.args.no_trunc { task } else { short_id(task) });
        }
        prefix.push('@');
        prefix.push_str(&self.names.node(node).await?);
        prefix.push_str(&" ".repeat(self.width.saturating_sub(digits(slot))));
        self.known.insert(task.to_owned(), prefix.clone());
        Ok(prefix)
    }
}

/// `key=value,…`, each escaped as in a query.
fn parse(attributes: &str) -> BTreeMap<String, String> {
    let pairs = attributes.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (unescape(key), unescape(value))).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        match (escaped, first) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (None, b'+') => {
                bytes.push(b' ');
                rest = tail;
            }
            (None, byte) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        client::testing::FakeDaemon,
        commands::testing::{prints, run},
    };

    fn frame(stream: u8, payload: &str) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], length.as_slice(), payload.as_bytes()].concat()
    }

    fn attributes(task: &str) -> String {
        format!("com.docker.swarm.node.id=n1,com.docker.swarm.service.id=s1,com.docker.swarm.task.id={task},l=a%2Cb+c")
    }

    fn daemon() -> FakeDaemon {
        FakeDaemon::new()
            .on(
                "GET /v1.46/services/web",
                json!({"ID": "s1", "Spec": {"Name": "web", "Mode": {"Replicated": {"Replicas": 10}}}}),
            )
            .on("GET /v1.46/services/s1", json!({"ID": "s1", "Spec": {"Name": "web"}}))
            .on("GET /v1.46/nodes/n1", json!({"ID": "n1", "Description": {"Hostname": "host1"}}))
            .on("GET /v1.46/tasks/q55gfgtylnlyi4ut", json!({"ID": "q55gfgtylnlyi4ut", "Slot": 2}))
            .on("GET /v1.46/tasks/s7s9tzpqqpo80xtu", json!({"ID": "s7s9tzpqqpo80xtu", "Slot": 10}))
    }

    #[tokio::test]
    async fn lines_say_whose_they_are() {
        let log = [
            frame(1, &format!("{} out of it\n", attributes("q55gfgtylnlyi4ut"))),
            frame(1, &format!("{}  \n", attributes("s7s9tzpqqpo80xtu"))),
            frame(2, &format!("{} err\n", attributes("q55gfgtylnlyi4ut"))),
        ]
        .concat();
        let path = "GET /v1.46/services/s1/logs?stdout=true&stderr=true&follow=true&details=true&tail=7";
        let daemon = daemon().on_bytes(path, log);
        let (captured, result) = run(&daemon, &["service", "logs", "-f", "--tail", "7", "web"]).await;
        assert_eq!(result, Ok(()));
        let expected = "web.2.q55gfgtylnly@host1     | out of it\nweb.10.s7s9tzpqqpo8@host1    |  \n";
        assert_eq!(captured.out(), expected);
        assert_eq!(captured.err(), "web.2.q55gfgtylnly@host1     | err\n");
    }

    #[tokio::test]
    async fn times_details_and_ids() {
        let at = "2024-05-06T07:08:09.120000000Z";
        let log = frame(1, &format!("{at} {} text\n", attributes("q55gfgtylnlyi4ut")));
        let path = "GET /v1.46/services/s1/logs?stdout=true&stderr=true&timestamps=true&details=true&tail=all&since=5.000000000";
        let daemon = daemon().on_bytes(path, log);
        let line = ["service", "logs", "-t", "--details", "--no-trunc", "--no-resolve", "--since", "5", "web"];
        let expected = format!("{at} s1.2.q55gfgtylnlyi4ut@n1     | l=a,b c text\n");
        assert_eq!(prints(&daemon, &line).await, expected);
        let line = ["service", "logs", "-t", "--no-task-ids", "--since", "5", "web"];
        assert_eq!(prints(&daemon, &line).await, format!("{at} web.2@host1     | text\n"));
    }

    #[tokio::test]
    async fn raw_is_what_was_written() {
        let path = "GET /v1.46/services/s1/logs?stdout=true&stderr=true&tail=all";
        let daemon = daemon().on_bytes(path, [frame(1, "a b\n"), frame(1, ""), frame(1, "c")].concat());
        assert_eq!(prints(&daemon, &["service", "logs", "--raw", "web"]).await, "a b\nc");
    }

    #[tokio::test]
    async fn a_task_has_a_log_too() {
        let log = frame(1, &format!("{} x\n", attributes("s7s9tzpqqpo80xtu")));
        let daemon = daemon()
            .refusing("GET /v1.46/services/s7s9tzpqqpo80xtu", 404, "no service")
            .on_bytes("GET /v1.46/tasks/s7s9tzpqqpo80xtu/logs?stdout=true&stderr=true&details=true&tail=all", log);
        let printed = prints(&daemon, &["service", "logs", "s7s9tzpqqpo80xtu"]).await;
        assert_eq!(printed, "web.10.s7s9tzpqqpo8@host1    | x\n");
    }

    #[tokio::test]
    async fn what_cannot_be_shown_is_said() {
        let daemon = daemon()
            .refusing("GET /v1.46/services/x", 404, "no service")
            .refusing("GET /v1.46/tasks/x", 404, "no task")
            .on(
                "GET /v1.46/services/t",
                json!({"ID": "t", "Spec": {"TaskTemplate": {"ContainerSpec": {"TTY": true}}}}),
            );
        let (_, result) = run(&daemon, &["service", "logs", "x"]).await;
        assert_eq!(result, Err("no such task or service: x".into()));
        let (_, result) = run(&daemon, &["service", "logs", "t"]).await;
        assert_eq!(result, Err("tty service logs only supported with --raw".into()));
    }

    #[test]
    fn attributes_are_unescaped() {
        assert_eq!(unescape("a%2Cb+c%25%zz%4"), "a,b c%%zz%4");
    }
}
