//! The slow way, from the words of the documentation alone.

use std::collections::BTreeSet;

use super::*;

fn reserved(task: &Task) -> Resources {
    task.spec.clone().unwrap().into_inner().resources.unwrap().reservations.unwrap()
}

fn gpus(resources: &[GenericResource]) -> BTreeSet<String> {
    let name = |resource: &GenericResource| match &resource.value {
        Some(Value::Named(name)) => Some(name.clone()),
        _ => None,
    };
    resources.iter().filter_map(name).collect()
}

fn port(task: &Task) -> Option<u32> {
    task.endpoint.as_ref().unwrap().spec.as_ref().unwrap().ports.first().map(|port| port.published)
}

fn value(node: &Node, descriptor: &str) -> String {
    let labels = &node.spec.as_ref().unwrap().annotations.as_ref().unwrap().labels;
    labels.get(descriptor.trim_start_matches("node.labels.")).cloned().unwrap_or_default()
}

/// What is free of a node's named GPUs.
fn free_gpus(view: &View, node: &Node) -> BTreeSet<String> {
    let mut free = gpus(&node.description.as_ref().unwrap().resources.as_ref().unwrap().generic);
    for task in view.tasks_of_node(&node.id).filter(|task| task.may_run()) {
        free = &free - &gpus(&task.generic_resources);
    }
    free
}

/// The node for one task, by id.
fn best(view: &View, task: &Task) -> Option<String> {
    let wanted = reserved(task);
    let placement = task.spec.as_ref().unwrap().placement.as_ref().unwrap();
    let of_service: Vec<&Arc<Task>> =
        view.tasks_of_service(&task.service_id).filter(|other| other.is_wanted() && other.id != task.id).collect();
    let key = |node: &Node| {
        let there: Vec<&Arc<Task>> = view.tasks_of_node(&node.id).collect();
        let running: Vec<&&Arc<Task>> = there.iter().filter(|other| other.may_run()).collect();
        let of_service_there = of_service.iter().filter(|other| other.node_id == node.id).count();
        let failures = of_service.iter().flat_map(|other| other.restart.iter().flat_map(|restart| &restart.failures));
        let failed = failures
            .filter(|failure| failure.node_id == node.id && NOW.since(Timestamp(failure.at)) < Duration::from_secs(300))
            .count();
        let cpus = node.description.as_ref().unwrap().resources.as_ref().unwrap().nano_cpus
            - running.iter().map(|other| reserved(other).nano_cpus).sum::<i64>();
        let wanted_gpus = wanted.generic.iter().map(|_| usize::try_from(count(&wanted)).unwrap()).sum::<usize>();
        let zones = placement
            .constraints
            .iter()
            .all(|constraint| constraint.trim_start_matches("node.labels.zone==") == value(node, "node.labels.zone"));
        let port = port(task);
        let fits = node.status.as_ref().unwrap().state() == NodeState::Ready
            && node.spec.as_ref().unwrap().availability() == Availability::Active
            && wanted.nano_cpus <= cpus.max(0)
            && wanted_gpus <= free_gpus(view, node).len()
            && zones
            && (port.is_none() || running.iter().all(|other| self::port(other) != port))
            && (placement.max_replicas == 0 || (of_service_there as u64) < placement.max_replicas);
        let total = there.iter().filter(|other| other.is_wanted()).count();
        // For each level: tasks of the service on nodes that share the values so far.
        let spread: Vec<usize> = (1..=placement.spread_over.len())
            .map(|levels| {
                let values = |node: &Node| -> Vec<String> {
                    placement.spread_over[..levels].iter().map(|descriptor| value(node, descriptor)).collect()
                };
                let shares =
                    |other: &&&Arc<Task>| view.node(&other.node_id).is_some_and(|other| values(other) == values(node));
                of_service.iter().filter(shares).count()
            })
            .collect();
        fits.then(|| (spread, if failed >= 5 { failed } else { 0 }, of_service_there, total, node.id.clone()))
    };
    view.nodes().filter_map(|node| key(node)).min().map(|(.., id)| id)
}

fn count(resources: &Resources) -> i64 {
    resources
        .generic
        .iter()
        .map(|resource| if let Some(Value::Discrete(count)) = resource.value { count } else { 0 })
        .sum()
}

/// Places the waiting tasks one by one.
pub(super) fn placed(view: &View) -> View {
    let mut waiting: Vec<Arc<Task>> = view.tasks_in_state(TaskState::Pending).cloned().collect();
    waiting.sort_by_key(|task| (task.service_id.clone(), task.slot));
    waiting.into_iter().fold(view.clone(), |view, task| {
        let Some(id) = best(&view, &task) else { return view };
        let names = free_gpus(&view, view.node(&id).unwrap());
        let named = |name| GenericResource { kind: "gpu".into(), value: Some(Value::Named(name)) };
        let given = names.into_iter().take(usize::try_from(count(&reserved(&task))).unwrap()).map(named).collect();
        let mut tx = TxBuilder::new(&view, NOW);
        let placed = advanced(&task, TaskState::Assigned, "", NOW);
        tx.update(Task { node_id: id, generic_resources: given, ..placed });
        let tx = tx.build();
        view.apply(view.version() + 1, &tx).unwrap().0
    })
}

/// No node is asked for more than it has, beyond what was so before; a task has as many as it wanted.
pub(super) fn nothing_is_given_twice(before: &View, after: &View) {
    for node in after.nodes() {
        let mut names = BTreeSet::new();
        for task in after.tasks_of_node(&node.id).filter(|task| task.may_run()) {
            for name in gpus(&task.generic_resources) {
                assert!(names.insert(name), "given twice on {}", node.id);
            }
            let is_new = before.task(&task.id).is_some_and(|old| old.node_id.is_empty());
            assert!(!is_new || gpus(&task.generic_resources).len() as i64 == count(&reserved(task)), "{task:?}");
        }
        assert!(names.is_subset(&gpus(&node.description.as_ref().unwrap().resources.as_ref().unwrap().generic)));
    }
}
