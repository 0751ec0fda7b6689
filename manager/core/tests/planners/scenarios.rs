//! Plays `tests/scenarios/*.swarm`: lines a person would say, and under each `show` what the swarm looks like then.
//!
//! The lines that begin with `|` are what a `show` printed; `UPDATE=1 cargo test -p skep-core` writes them anew.
//! Commands:
//! - `node add|resize N… [cpus=4] [memory=8g] [arch=x86_64] [labels=k=v,…]`, `node drain N… [pace=gradual]`,
//!   `node pause|active|down|unknown|up|rm N…`, `node label N k=v`
//! - `service create NAME replicas=N|global [OPTION]…`, `service update NAME [force] [OPTION]…`, `service rollback NAME`,
//!   `service rebalance NAME`, `service scale NAME N`, `service rm NAME`; the options are
//!   `[image=demo:1] [program=runs|crashes|finishes|is-rejected]` (what the image does)
//!   `[restart=any|on-failure|none] [delay=5s] [attempts=N] [window=5s] [backoff=on|off] [rebalance=on|off]`
//!   `[constraint=…]… [spread=…]… [cpus=1] [memory=1g] [max-per-node=N] [port=N]` (a port of the node itself)
//!   `[update-parallelism=N] [update-delay=5s] [update-monitor=5s] [update-order=stop-first|start-first]`
//!   `[update-failure=pause|continue|rollback] [update-ratio=0.5]`, and the same with `rollback-`
//! - `image NAME PROGRAM` what an image does from now on
//! - `task failed|complete|… NAME.SLOT` the node reports this state of the slot's running task
//! - `plan` the planners act, the nodes do not; `nodes` the nodes act once, the planners do not;
//!   `tick 30s` time passes (0s: everybody acts until there is no more to do)
//! - `show` prints the tasks in the order they were made, `why` what each was made for, `status NAME` how the update of
//!   a service goes, `moves NAME` what a rebalance would do

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path, sync::Arc, time::Duration};

use skep_common::clock::nanos;
use skep_core::{
    policy::{Policy as _, Rebalance, RestartBackoff},
    rebalance,
    task::TaskExt,
};
use skep_proto::v1::{
    Availability, ContainerSpec, DrainPace, FailureAction, GlobalService, Node, NodeState, Placement, PortConfig,
    PublishMode, ReplicatedService, ResourceRequirements, RestartCondition, RestartPolicy, ServiceSpec, Task, TaskSpec,
    TaskState, UpdateConfig, UpdateOrder, service_spec::Mode,
};

use crate::world::{Planner, Program, World};

#[test]
fn scenarios() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut scripts: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let mut wrong = Vec::new();
    for path in scripts {
        let script = fs::read_to_string(&path).unwrap();
        let played = Scenario::play(&script, &path);
        if played == script {
            continue;
        }
        if env::var_os("UPDATE").is_some() {
            fs::write(&path, played).unwrap();
        } else {
            wrong.push(format!("{}\n{}", path.display(), first_difference(&script, &played)));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE=1 writes what is printed now", wrong.join("\n"));
}

fn first_difference(expected: &str, actual: &str) -> String {
    let lines = expected.lines().map(Some).chain([None]).zip(actual.lines().map(Some).chain([None]));
    let (number, (expected, actual)) =
        lines.enumerate().find(|(_, (expected, actual))| expected != actual).unwrap_or((0, (None, None)));
    format!("line {}:\n- {}\n+ {}", number + 1, expected.unwrap_or("(end)"), actual.unwrap_or("(end)"))
}

struct Scenario {
    world: World,
    /// Task ids in the order they were first seen, and the short names they are shown under.
    names: BTreeMap<String, usize>,
}

impl Scenario {
    fn play(script: &str, path: &Path) -> String {
        let mut scenario = Self { world: World::new(1), names: BTreeMap::new() };
        let mut output = String::new();
        for (number, line) in script.lines().enumerate() {
            if line.starts_with('|') {
                continue;
            }
            output.push_str(line);
            output.push('\n');
            let command = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = command.split_whitespace().collect();
            if !words.is_empty() {
                let printed = scenario
                    .command(&words)
                    .unwrap_or_else(|| panic!("{}:{}: no such command: {line}", path.display(), number + 1));
                output.push_str(&printed);
            }
        }
        output
    }

    fn command(&mut self, words: &[&str]) -> Option<String> {
        match words {
            ["node", verb, rest @ ..] => self.node(verb, rest)?,
            ["service", "create", name, options @ ..] => {
                let mut spec = plain_spec();
                let program = change(&mut spec, options)?;
                self.world.add_service(name, program.unwrap_or_default(), spec);
            }
            ["service", "update", name, options @ ..] => {
                let (mut program, mut image) = (None, String::new());
                self.world.update_service(name, |spec| {
                    program = change(spec, options);
                    image = spec.task.clone().unwrap().into_inner().container.unwrap().image;
                });
                if let Some(program) = program? {
                    self.world.images.insert(image, program);
                }
            }
            ["image", image, program] => {
                self.world.images.insert((*image).into(), program_named(program)?);
            }
            ["service", "rollback", name] => self.world.roll_back(name),
            ["service", "rebalance", name] => self.world.request_rebalance(name),
            ["service", "scale", name, replicas] => self.world.scale(name, replicas.parse().ok()?),
            ["service", "rm", name] => self.world.remove_service(name),
            ["task", state, slot] => {
                let state = TaskState::from_str_name(&format!("TASK_STATE_{}", state.to_uppercase()))?;
                let id = self.running_task(slot)?;
                self.world.report(&id, state);
            }
            ["plan"] => Planner::ALL.into_iter().for_each(|planner| self.world.run(planner)),
            ["tick", span] => self.world.tick(span_of(span)?),
            ["nodes"] => self.world.nodes_act(),
            ["show"] => return Some(self.show()),
            ["why"] => return Some(self.why()),
            ["status", name] => return self.status(name),
            ["moves", name] => return self.moves(name),
            _ => return None,
        }
        self.name_tasks();
        Some(String::new())
    }

    fn node(&mut self, verb: &str, words: &[&str]) -> Option<()> {
        if verb == "label" {
            let [id, label] = words else { return None };
            let (key, value) = label.split_once('=')?;
            self.world.edit_node(id, |node| {
                let labels = &mut node.spec.get_or_insert_default().annotations.get_or_insert_default().labels;
                labels.insert(key.into(), value.into());
            });
            return Some(());
        }
        let (options, ids): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.contains('='));
        for id in ids {
            match verb {
                "add" => {
                    let options = parse_node(&options)?;
                    self.world.add_node(id, |node| describe(node, &options));
                }
                "resize" => {
                    let options = parse_node(&options)?;
                    self.world.edit_node(id, |node| describe(node, &options));
                }
                "drain" => {
                    let is_gradual = options.contains(&"pace=gradual");
                    let pace = if is_gradual { DrainPace::Gradual } else { DrainPace::AtOnce };
                    self.world.edit_node(id, |node| node.spec.get_or_insert_default().set_drain_pace(pace));
                    self.world.set_availability(id, Availability::Drain);
                }
                "pause" => self.world.set_availability(id, Availability::Pause),
                "active" => self.world.set_availability(id, Availability::Active),
                "down" => self.world.set_node_state(id, NodeState::Down),
                "unknown" => self.world.set_node_state(id, NodeState::Unknown),
                "up" => self.world.set_node_state(id, NodeState::Ready),
                "rm" => self.world.remove_node(id),
                _ => return None,
            }
        }
        Some(())
    }

    fn running_task(&self, slot: &str) -> Option<String> {
        let (service, slot) = slot.rsplit_once('.')?;
        let mut tasks = self.world.view.tasks_of_slot(service, slot.parse().ok()?);
        tasks.find(|task| task.is_wanted()).map(|task| task.id.clone())
    }

    /// Gives new tasks short names, in an order that does not depend on their ids.
    fn name_tasks(&mut self) {
        let mut new: Vec<&Arc<Task>> =
            self.world.view.tasks().filter(|task| !self.names.contains_key(&task.id)).collect();
        new.sort_by_key(|task| {
            let at = task.meta.map(|meta| meta.created_at);
            (at, &task.service_id, task.slot, self.predecessors(task), &task.node_id, &task.id)
        });
        for task in new {
            let number = self.names.len() + 1;
            self.names.insert(task.id.clone(), number);
        }
    }

    /// How many tasks that are still known came before this one.
    fn predecessors(&self, task: &Task) -> usize {
        let before = |task: &Arc<Task>| self.world.view.task(&task.replaces).cloned();
        std::iter::successors(self.world.view.task(&task.id).cloned(), before).count()
    }

    /// The tasks by slot, each slot's in the order they were made.
    fn tasks(&mut self) -> Vec<Arc<Task>> {
        self.name_tasks();
        let mut tasks: Vec<_> = self.world.view.tasks().cloned().collect();
        tasks.sort_by_key(|task| {
            let node = if task.slot == 0 { task.node_id.clone() } else { String::new() };
            (task.service_id.clone(), task.slot, node, self.names[&task.id])
        });
        tasks
    }

    fn show(&mut self) -> String {
        let tasks = self.tasks();
        let header = ["TASK", "PLACE", "NODE", "DESIRED", "STATE", "NOTE"].map(str::to_owned);
        table(&std::iter::once(header).chain(tasks.iter().map(|task| self.row(task))).collect::<Vec<_>>())
    }

    fn why(&mut self) -> String {
        let tasks = self.tasks();
        let name = |id: &str| self.names.get(id).map_or_else(|| "-".to_owned(), |number| format!("t{number}"));
        let row = |task: &Arc<Task>| {
            let cause = task.cause().as_str_name().trim_start_matches("TASK_CAUSE_").to_lowercase();
            [name(&task.id), self.slot_of(task), cause.replace('_', "-"), name(&task.replaces)]
        };
        let header = ["TASK", "PLACE", "CAUSE", "REPLACES"].map(str::to_owned);
        table(&std::iter::once(header).chain(tasks.iter().map(row)).collect::<Vec<_>>())
    }

    fn status(&self, name: &str) -> Option<String> {
        let service = self.world.view.service_by_name(name)?;
        let Some(status) = &service.update_status else { return Some("| none\n".into()) };
        let state = status.state().as_str_name().trim_start_matches("UPDATE_STATE_").to_lowercase();
        let named = |word: &str| self.names.get(word).map_or_else(|| word.to_owned(), |number| format!("t{number}"));
        let message: Vec<String> = status.message.split(' ').map(named).collect();
        Some(format!("| {state}: {}\n", message.join(" ")))
    }

    fn moves(&self, name: &str) -> Option<String> {
        let service = self.world.view.service_by_name(name)?;
        let moves = rebalance::moves(&self.world.view, service, self.world.now);
        Some(moves.iter().fold(String::new(), |mut text, step| {
            writeln!(text, "| {name}.{} from {} to {}", step.slot, step.from_node, step.to_node).unwrap();
            text
        }))
    }

    fn row(&self, task: &Task) -> [String; 6] {
        let name = |state: TaskState| state.as_str_name().trim_start_matches("TASK_STATE_").to_lowercase();
        let node = if task.node_id.is_empty() { "-" } else { &task.node_id };
        [
            format!("t{}", self.names[&task.id]),
            self.slot_of(task),
            node.to_owned(),
            name(task.desired_state()),
            name(task.state()),
            self.note(task),
        ]
    }

    fn slot_of(&self, task: &Task) -> String {
        match task.slot {
            0 => format!("{}.{}", task.service_id, task.node_id),
            slot => format!("{}.{slot}", task.service_id),
        }
    }

    fn note(&self, task: &Task) -> String {
        let status = task.status.clone().unwrap_or_default();
        let image = task.spec.clone().unwrap_or_default().into_inner().container.unwrap_or_default().image;
        let wait = task.not_before().since(self.world.now);
        let mut notes = Vec::new();
        if image != "demo:1" {
            notes.push(image);
        }
        if task.is_wanted() && !wait.is_zero() {
            notes.push(format!("starts in {}s", wait.as_secs()));
        }
        if task.is_wanted() && task.waits_in_backoff(self.world.now) {
            notes.push(status.message);
        }
        notes.push(status.err);
        notes.join(" ").trim_end().to_owned()
    }
}

/// What there is to say of a node, if all of it is known.
fn parse_node<'a>(options: &[&'a str]) -> Option<Vec<(&'a str, &'a str)>> {
    let known = |(key, _): &(&str, &str)| ["cpus", "memory", "arch", "labels"].contains(key);
    options.iter().map(|option| option.split_once('=').filter(known)).collect()
}

fn describe(node: &mut Node, options: &[(&str, &str)]) {
    let description = node.description.get_or_insert_default();
    let resources = description.resources.get_or_insert_default();
    for (key, value) in options {
        match *key {
            "cpus" => resources.nano_cpus = cpus(value),
            "memory" => resources.memory_bytes = bytes(value),
            "arch" => description.platform.get_or_insert_default().architecture = (*value).into(),
            _ => {
                let labels = &mut node.spec.get_or_insert_default().annotations.get_or_insert_default().labels;
                let pairs = value.split(',').filter_map(|pair| pair.split_once('='));
                labels.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
            }
        }
    }
}

/// Rows of columns, each as wide as its widest cell.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut table = String::new();
    for row in rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        writeln!(table, "| {}", line.trim_end()).unwrap();
    }
    table
}

fn program_named(name: &str) -> Option<Program> {
    Some(match name {
        "runs" => Program::Runs,
        "crashes" => Program::Crashes,
        "finishes" => Program::Finishes,
        "is-rejected" => Program::IsRejected,
        _ => return None,
    })
}

/// The spec of a service nobody said anything about.
fn plain_spec() -> ServiceSpec {
    let task = TaskSpec {
        container: Some(ContainerSpec { image: "demo:1".into(), ..ContainerSpec::default() }),
        resources: Some(ResourceRequirements::default()),
        restart: Some(RestartPolicy::default()),
        placement: Some(Placement::default()),
        ..TaskSpec::default()
    };
    ServiceSpec { task: Some(task.into()), ..ServiceSpec::default() }
}

/// Changes a spec as the options say; and the program that one of them names.
fn change(spec: &mut ServiceSpec, options: &[&str]) -> Option<Option<Program>> {
    let mut program = None;
    for option in options {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let task = &mut **spec.task.get_or_insert_default();
        let restart = task.restart.get_or_insert_default();
        let placement = task.placement.get_or_insert_default();
        let reserved = task.resources.get_or_insert_default().reservations.get_or_insert_default();
        match key {
            "global" => spec.mode = Some(Mode::Global(GlobalService {})),
            "replicas" => spec.mode = Some(Mode::Replicated(ReplicatedService { replicas: value.parse().ok()? })),
            "image" => task.container.get_or_insert_default().image = value.into(),
            "force" => task.force_update += 1,
            "program" => program = Some(program_named(value)?),
            "restart" => {
                restart.set_condition(match value {
                    "any" => RestartCondition::Any,
                    "on-failure" => RestartCondition::OnFailure,
                    "none" => RestartCondition::None,
                    _ => return None,
                });
            }
            "delay" => restart.delay = Some(nanos(span_of(value)?)),
            "window" => restart.window = Some(nanos(span_of(value)?)),
            "attempts" => restart.max_attempts = value.parse().ok()?,
            "backoff" | "rebalance" => {
                let label = if key == "backoff" { RestartBackoff::LABEL } else { Rebalance::LABEL };
                let labels = &mut spec.annotations.get_or_insert_default().labels;
                labels.insert(label.into(), value.into());
            }
            "constraint" => placement.constraints.push(value.into()),
            "spread" => placement.spread_over.push(value.into()),
            "max-per-node" => placement.max_replicas = value.parse().ok()?,
            "port" => {
                let published = value.parse().ok()?;
                let port = PortConfig { published, mode: PublishMode::Host.into(), ..PortConfig::default() };
                spec.endpoint.get_or_insert_default().ports = vec![port];
            }
            "cpus" => reserved.nano_cpus = cpus(value),
            "memory" => reserved.memory_bytes = bytes(value),
            _ => {
                let (which, key) = key.split_once('-')?;
                let config = match which {
                    "update" => spec.update.get_or_insert_with(one_at_a_time),
                    "rollback" => spec.rollback.get_or_insert_with(one_at_a_time),
                    _ => return None,
                };
                change_policy(config, key, value)?;
            }
        }
    }
    Some(program)
}

fn one_at_a_time() -> UpdateConfig {
    UpdateConfig { parallelism: 1, ..UpdateConfig::default() }
}

fn change_policy(config: &mut UpdateConfig, key: &str, value: &str) -> Option<()> {
    match key {
        "parallelism" => config.parallelism = value.parse().ok()?,
        "delay" => config.delay = nanos(span_of(value)?),
        "monitor" => config.monitor = nanos(span_of(value)?),
        "ratio" => config.max_failure_ratio = value.parse().ok()?,
        "order" => config.set_order(match value {
            "stop-first" => UpdateOrder::StopFirst,
            "start-first" => UpdateOrder::StartFirst,
            _ => return None,
        }),
        "failure" => config.set_failure_action(match value {
            "pause" => FailureAction::Pause,
            "continue" => FailureAction::Continue,
            "rollback" => FailureAction::Rollback,
            _ => return None,
        }),
        _ => return None,
    }
    Some(())
}

fn span_of(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..split].parse().ok()?;
    let seconds = match &text[split..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(number * seconds))
}

fn cpus(text: &str) -> i64 {
    text.parse::<i64>().unwrap() * 1_000_000_000
}

fn bytes(text: &str) -> i64 {
    text.trim_end_matches('g').parse::<i64>().unwrap() << 30
}
