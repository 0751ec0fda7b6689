//! Answers that go on: logs, events, and the progress of a load.

use std::{sync::atomic::Ordering, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use serde_json::Value;
use skep_common::clock::{Clock as _, SystemClock};
use tokio::time::timeout;

use super::super::testing::{Bench, SwarmRole};

async fn bytes(bench: &Bench, path: &str) -> (String, Bytes) {
    let response = bench.exchange(Method::GET, path, Body::empty()).await;
    assert_eq!(response.status(), 200, "{path}");
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (kind.unwrap_or_default(), body)
}

#[tokio::test]
async fn logs_of_a_service_come_in_frames() {
    let bench = Bench::new(SwarmRole::Manager);
    bench.service("web", 2).await;
    let (kind, plain) = bytes(&bench, "/v1.42/services/web/logs?stdout=1&stderr=1").await;
    assert_eq!(kind, "application/vnd.docker.multiplexed-stream");
    assert!(plain.starts_with(b"\x01\0\0\0\0\0\0\x0cstdout of 1\n\x02\0\0\0\0\0\0\x0cstderr of 1\n\x01"));
    let (kind, old) = bytes(&bench, "/v1.41/services/web/logs?stdout=1&stderr=1").await;
    assert_eq!((kind.as_str(), old), ("", plain));

    let (_, tasks) = bench.get("/tasks").await;
    let task = tasks[1]["ID"].as_str().unwrap();
    let (_, lines) = bytes(&bench, &format!("/tasks/{task}/logs?stdout=1&timestamps=1&details=1")).await;
    let text = String::from_utf8_lossy(&lines[8..]).into_owned();
    let details = format!(
        "2024-05-06T07:08:09.123456789Z com.docker.swarm.node.id=node1aaaaaaaaaaaaaaaaaaaa,\
         com.docker.swarm.service.id={},com.docker.swarm.task.id={task} stdout of 2\n",
        tasks[1]["ServiceID"].as_str().unwrap()
    );
    assert_eq!(text, details);
}

#[tokio::test]
async fn a_log_that_breaks_off_says_why() {
    let bench = Bench::new(SwarmRole::Manager);
    bench.service("web", 1).await;
    bench.swarm.break_logs.store(true, Ordering::Relaxed);
    let (_, body) = bytes(&bench, "/services/web/logs?stdout=1").await;
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(text.contains("\u{3}\0\0\0") && text.ends_with("the node is gone"), "{text:?}");
}

#[tokio::test]
async fn logs_of_a_terminal_are_bare() {
    let bench = Bench::new(SwarmRole::Manager);
    let spec = serde_json::json!({ "Name": "tty", "TaskTemplate": { "ContainerSpec": { "Image": "x", "TTY": true } } });
    assert_eq!(bench.post("/services/create", &spec).await.0, 201);
    let (kind, body) = bytes(&bench, "/services/tty/logs?stdout=1").await;
    assert_eq!((kind.as_str(), &body[..]), ("application/vnd.docker.raw-stream", &b"stdout of 1\n"[..]));
}

async fn next(lines: &mut axum::body::BodyDataStream) -> Value {
    let line = timeout(Duration::from_secs(10), lines.next()).await.unwrap().unwrap().unwrap();
    serde_json::from_slice(&line).unwrap()
}

#[tokio::test]
async fn events_past_and_present() {
    let bench = Bench::new(SwarmRole::Manager);
    let (events, swarm, stop) = (bench.api.events.clone(), bench.api.backend.cluster.clone(), bench.api.stop.clone());
    let collector = tokio::spawn(async move { events.collect(swarm, stop).await });
    let everything = bench.exchange(Method::GET, "/events?since=1", Body::empty()).await;
    let mut everything = everything.into_body().into_data_stream();
    // The watch may not be open yet: services are made until one is heard of.
    let mut made = 0;
    let first = loop {
        bench.service(&format!("a{made}"), 1).await;
        made += 1;
        if let Ok(line) = timeout(Duration::from_millis(100), everything.next()).await {
            break serde_json::from_slice::<Value>(&line.unwrap().unwrap()).unwrap();
        }
    };
    assert_eq!((first["Type"].as_str(), first["Action"].as_str()), (Some("service"), Some("create")));
    assert_eq!(first["scope"].as_str(), Some("swarm"));

    let path = "/events?filters=%7B%22event%22%3A%5B%22remove%22%5D%7D";
    let mut removals = bench.exchange(Method::GET, path, Body::empty()).await.into_body().into_data_stream();
    bench.service("b", 1).await;
    bench.ask(Method::DELETE, "/services/b", Body::empty()).await;
    let removal = next(&mut removals).await;
    assert_eq!(removal["Actor"]["Attributes"]["name"].as_str(), Some("b"));

    let now = SystemClock::new().now().as_nanos();
    let until = format!("{}.{:09}", now / 1_000_000_000, now % 1_000_000_000);
    let (_, past) = bytes(&bench, &format!("/events?since=1&until={until}")).await;
    let past = String::from_utf8(past.to_vec()).unwrap();
    assert!(past.lines().count() >= 1 && past.contains(r#""name":"b""#), "{past}");
    let (_, none) = bytes(&bench, "/events?until=1").await;
    assert!(none.is_empty());

    bench.api.stop.cancel();
    collector.await.unwrap();
    assert!(timeout(Duration::from_secs(10), async { while removals.next().await.is_some() {} }).await.is_ok());
}

#[tokio::test]
async fn a_load_tells_how_far_it_is_and_why_it_failed() {
    let bench = Bench::new(SwarmRole::Outside);
    let archive = format!("{}\n", "x".repeat(3 << 20));
    let chunks = archive
        .into_bytes()
        .chunks(64 << 10)
        .map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk)))
        .collect::<Vec<_>>();
    let body = Body::from_stream(futures::stream::iter(chunks));
    let response = bench.exchange(Method::POST, "/images/load", body).await;
    let text = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["progressDetail"]["current"].as_u64().unwrap() >= 1 << 20);
    assert!(lines.last().unwrap()["stream"].as_str().unwrap().starts_with("Loaded image: xxx"));

    let broken = futures::stream::iter([Ok(Bytes::from_static(b"busybox")), Err(std::io::Error::other("cut off"))]);
    let (status, line) = bench.ask(Method::POST, "/images/load?quiet=1", Body::from_stream(broken)).await;
    assert_eq!(status, 200);
    assert!(line["error"].as_str().unwrap().contains("cut off"), "{line}");
    assert_eq!(line["errorDetail"]["message"], line["error"]);
}
