//! Why something waits, what happened to it, and what would happen: asked of a real manager with scripted agents.

use skep_proto::v1::{
    Availability, ClusterSpec, CreateServiceRequest, ExplainReply, ExplainRequest, JournalEntry, ListNodesRequest,
    Node, NodeState, Placement, UpdateNodeRequest, WhatIfRequest, explain_request, what_if_reply::Effect,
    what_if_request,
};
use tonic::Code;

use crate::support::{
    agent::Agent,
    cluster::{Member, TestManager, leader, spec, three_managers},
    eventually,
};

async fn agents(manager: &TestManager, names: &[&str]) -> Vec<Agent> {
    let token = manager.cluster().await.join_tokens.unwrap().worker;
    let mut agents = Vec::new();
    for name in names {
        let member = Member::enroll(&manager.addr, &token).await.unwrap();
        agents.push(Agent::start(member, name, std::slice::from_ref(&manager.addr)));
    }
    eventually("the agents are ready", || async {
        let nodes = manager.control().list_nodes(ListNodesRequest::default()).await.unwrap().into_inner().nodes;
        let ready = |node: &&Node| node.status.as_ref().unwrap().state() == NodeState::Ready;
        (nodes.iter().filter(ready).count() == names.len()).then_some(())
    })
    .await;
    agents
}

async fn explain(manager: &TestManager, what: explain_request::What) -> ExplainReply {
    manager
        .control()
        .explain(ExplainRequest { what: Some(what), ..ExplainRequest::default() })
        .await
        .unwrap()
        .into_inner()
}

async fn explain_service(manager: &TestManager, name: &str) -> ExplainReply {
    explain(manager, explain_request::What::Service(name.into())).await
}

fn impossible(name: &str) -> CreateServiceRequest {
    let mut spec = spec(name, 1);
    let constraints = vec!["node.labels.zone==moon".to_owned()];
    spec.task.as_mut().unwrap().placement = Some(Placement { constraints, ..Placement::default() });
    CreateServiceRequest { spec: Some(spec) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_service_is_explained_also_after_a_restart() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let _agents = agents(&manager, &["w1", "w2"]).await;
    manager.control().create_service(impossible("far")).await.unwrap();

    let told = |explained: &ExplainReply, by: &str, text: &str| {
        explained.history.iter().filter(|entry| entry.by.starts_with(by) && entry.text.starts_with(text)).count()
    };
    let explained = eventually("the reason is known, and written down", || async {
        let explained = explain_service(&manager, "far").await;
        (told(&explained, "scheduler", "waits: no suitable node") == 1).then_some(explained)
    })
    .await;
    assert!(explained.text.starts_with("far has 0 of 1 replicas running. 1 task pending: no suitable node ("));
    let verdicts: Vec<_> = explained.nodes.iter().map(|node| (node.hostname.as_str(), node.fits)).collect();
    assert_eq!(verdicts.iter().filter(|verdict| ["w1", "w2"].contains(&verdict.0) && !verdict.1).count(), 2);
    assert_eq!(told(&explained, "user via ", "created: 1 replica of "), 1);
    assert_eq!(told(&explained, "orchestrator", "made"), 1);
    assert!(explained.history.is_sorted_by(|newer, older| newer.version >= older.version));

    let task = manager.tasks("far").await.remove(0);
    let of_task = explain(&manager, explain_request::What::Task(task.id.clone())).await;
    assert!(of_task.text.starts_with("far.1 is pending: no suitable node ("), "{}", of_task.text);
    assert!(of_task.history.iter().all(|entry| entry.task_id == task.id));

    let manager = manager.restart().await;
    let again = eventually("the manager leads again", || async {
        manager.leads().then_some(())?;
        Some(explain_service(&manager, "far").await)
    })
    .await;
    assert_eq!(told(&again, "user via ", "created: "), 1, "once, and not forgotten: {:#?}", again.history);

    let none = manager.control().explain(ExplainRequest::default()).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    let what = Some(explain_request::What::Service("nosuch".into()));
    let unknown = manager.control().explain(ExplainRequest { what, ..ExplainRequest::default() }).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "service nosuch not found"));
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_if_says_what_would_move_and_moves_nothing() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let _agents = agents(&manager, &["w1", "w2"]).await;
    manager.create("web", 2).await;
    manager.wait_running("web", 2).await;
    let before = (manager.tasks("web").await, manager.node("w2").await);

    let ask = async |what| manager.control().what_if(WhatIfRequest { what: Some(what) }).await;
    let forecast = ask(what_if_request::What::Drain("w2".into())).await.unwrap().into_inner();
    assert_eq!(forecast.summary, "If w2 were drained, 1 task would move.");
    let [Effect { service, from_node, to_node, .. }] = &forecast.effects[..] else { panic!("{forecast:?}") };
    assert_eq!((service.as_str(), from_node.as_str(), to_node.as_str()), ("web", "w2", "w1"));
    let forecast = ask(what_if_request::What::Deploy(impossible("far").spec.unwrap())).await.unwrap().into_inner();
    assert_eq!(forecast.summary, "If far were created, 1 task would find no place.");
    assert_eq!((manager.tasks("web").await, manager.node("w2").await), before);

    for (what, code) in [
        (what_if_request::What::Drain("nosuch".into()), Code::NotFound),
        (what_if_request::What::LoseLabel("zone".into()), Code::InvalidArgument),
        (what_if_request::What::LoseLabel("zone=moon".into()), Code::NotFound),
        (what_if_request::What::Deploy(spec("bad name!", 1)), Code::InvalidArgument),
    ] {
        assert_eq!(ask(what).await.unwrap_err().code(), code);
    }
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_the_swarm_are_explained_and_say_who_did_what() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let _agents = agents(&manager, &["w1"]).await;
    manager.create("web", 0).await;
    let node = manager.node("w1").await;
    let mut spec = node.spec.unwrap();
    spec.set_availability(Availability::Drain);
    let drain = UpdateNodeRequest { key: node.id.clone(), version: node.meta.unwrap().version, spec: Some(spec) };
    manager.control().update_node(drain).await.unwrap();

    let told = |explained: &ExplainReply, text: &str| {
        let by_user = |entry: &&JournalEntry| entry.by == "user via first" && entry.text.starts_with(text);
        explained.history.iter().filter(by_user).count()
    };
    let explained = eventually("it is written down who drained the node", || async {
        let explained = explain(&manager, explain_request::What::Node("w1".into())).await;
        (told(&explained, "drained: ") == 1).then_some(explained)
    })
    .await;
    assert!(explained.text.starts_with("w1 is a worker and has been ready for "), "{}", explained.text);
    assert!(explained.text.ends_with("given no new ones. No task is on it."), "{}", explained.text);
    assert!(explained.history.iter().all(|entry| entry.node_id == node.id && entry.task_id.is_empty()));
    assert!(explained.history.last().unwrap().text.starts_with("joined the swarm as a worker"));
    assert_eq!(explained.nodes, []);

    let swarm = explain_request::What::Swarm(explain_request::Swarm {});
    let all = explain(&manager, swarm.clone()).await;
    assert_eq!((told(&all, "drained: "), told(&all, "created: ")), (1, 1), "{all:#?}");
    assert_eq!(all.history.last().unwrap().text, "joined the swarm as a manager");
    let ask = async |since, limit| {
        let request = ExplainRequest { what: Some(swarm.clone()), since, limit };
        manager.control().explain(request).await.unwrap().into_inner().history
    };
    assert_eq!(ask(0, 1).await, all.history[..1]);
    assert_eq!(ask(all.history[0].at + 1, 0).await, []);
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_nobody_has_is_said_to_be_unknown() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    manager.create("old", 0).await;
    let manager = manager.restart_without_journal().await;
    eventually("the manager leads again", || async { manager.leads().then_some(()) }).await;
    manager.create("new", 0).await;
    let explained = eventually("something is known again", || async {
        let swarm = explain(&manager, explain_request::What::Swarm(explain_request::Swarm {})).await;
        let known = swarm.history.iter().any(|entry| entry.by == "user via first");
        known.then_some(explain_service(&manager, "old").await)
    })
    .await;
    assert!(explained.text.contains(" What happened before "), "{}", explained.text);
    assert!(explained.text.ends_with(" is not known."), "{}", explained.text);
    let [entry] = &explained.history[..] else { panic!("{explained:#?}") };
    assert_eq!((entry.by.as_str(), entry.text.split(':').next()), ("", Some("created")), "how it stands is known");
    let explained = explain_service(&manager, "new").await;
    assert!(!explained.text.contains("is not known"), "all of its life was seen: {}", explained.text);
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_manager_has_the_history() {
    let mut managers = three_managers(ClusterSpec::default()).await;
    let first = leader(&managers).await;
    managers[first].create("web", 1).await;
    let gone = managers.remove(first);
    gone.manager.shutdown().await;
    let next = leader(&managers).await;
    eventually("the next leader knows who made the service", || async {
        let explained = explain_service(&managers[next], "web").await;
        explained.history.iter().any(|entry| entry.by.starts_with("user via ")).then_some(())
    })
    .await;
    for manager in managers {
        manager.manager.shutdown().await;
    }
}
