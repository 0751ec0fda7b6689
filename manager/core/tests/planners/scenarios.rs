//! Plays `tests/scenarios/*.swarm`: lines a person would say, and under each `show` what the swarm looks like then.
//!
//! The lines that begin with `|` are what a `show` printed; `UPDATE=1 cargo test -p skep-core` writes them anew.
//! Commands:
//! - `node add N… [cpus=4] [memory=8g] [arch=x86_64] [labels=k=v,…]`, `node drain|pause|active|down|unknown|up|rm N…`,
//!   `node label N k=v`
//! - `service create NAME replicas=N|global [program=runs|crashes|finishes|is-rejected] [restart=any|on-failure|none]
//!   [delay=5s] [attempts=N] [window=5s] [constraint=…]… [cpus=1] [memory=1g] [max-per-node=N]`,
//!   `service scale NAME N`, `service rm NAME`
//! - `task failed|complete|… NAME.SLOT` the node reports this state of the slot's running task
//! - `plan` the planners act, the nodes do not; `tick 30s` time passes (0s: everybody acts until there is no more to do)
//! - `show` prints the tasks in the order they were made

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path, time::Duration};

use skep_common::clock::Timestamp;
use skep_core::task::TaskExt;
use skep_proto::v1::{
    Availability, ContainerSpec, GlobalService, NodeState, Placement, ReplicatedService, ResourceRequirements,
    Resources, RestartCondition, RestartPolicy, ServiceSpec, Task, TaskSpec, TaskState, service_spec::Mode,
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
                let (program, spec) = service_spec(options)?;
                self.world.add_service(name, program, spec);
            }
            ["service", "scale", name, replicas] => self.world.scale(name, replicas.parse().ok()?),
            ["service", "rm", name] => self.world.remove_service(name),
            ["task", state, slot] => {
                let state = TaskState::from_str_name(&format!("TASK_STATE_{}", state.to_uppercase()))?;
                let id = self.running_task(slot)?;
                self.world.report(&id, state);
            }
            ["plan"] => Planner::ALL.into_iter().for_each(|planner| self.world.run(planner)),
            ["tick", span] => self.world.tick(span_of(span)?),
            ["show"] => return Some(self.show()),
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
                "add" => self.add_node(id, &options)?,
                "drain" => self.world.set_availability(id, Availability::Drain),
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

    fn add_node(&mut self, id: &str, options: &[&str]) -> Option<()> {
        let options: Vec<_> = options.iter().map(|option| option.split_once('=')).collect::<Option<_>>()?;
        let mut known = true;
        self.world.add_node(id, |node| {
            let description = node.description.get_or_insert_default();
            let resources = description.resources.get_or_insert_default();
            for (key, value) in options {
                match key {
                    "cpus" => resources.nano_cpus = cpus(value),
                    "memory" => resources.memory_bytes = bytes(value),
                    "arch" => description.platform.get_or_insert_default().architecture = value.into(),
                    "labels" => {
                        let labels = &mut node.spec.get_or_insert_default().annotations.get_or_insert_default().labels;
                        let pairs = value.split(',').filter_map(|pair| pair.split_once('='));
                        labels.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
                    }
                    _ => known = false,
                }
            }
        });
        known.then_some(())
    }

    fn running_task(&self, slot: &str) -> Option<String> {
        let (service, slot) = slot.rsplit_once('.')?;
        let mut tasks = self.world.view.tasks_of_slot(service, slot.parse().ok()?);
        tasks.find(|task| task.is_wanted()).map(|task| task.id.clone())
    }

    /// Gives new tasks short names, in an order that does not depend on their ids.
    fn name_tasks(&mut self) {
        let mut new: Vec<&std::sync::Arc<Task>> =
            self.world.view.tasks().filter(|task| !self.names.contains_key(&task.id)).collect();
        new.sort_by_key(|task| {
            (task.meta.map(|meta| meta.created_at), &task.service_id, task.slot, &task.node_id, &task.id)
        });
        for task in new {
            let number = self.names.len() + 1;
            self.names.insert(task.id.clone(), number);
        }
    }

    fn show(&mut self) -> String {
        self.name_tasks();
        let mut rows = vec![["TASK", "PLACE", "NODE", "DESIRED", "STATE", "NOTE"].map(str::to_owned)];
        let mut tasks: Vec<_> = self.world.view.tasks().collect();
        tasks.sort_by_key(|task| {
            (&task.service_id, task.slot, if task.slot == 0 { task.node_id.as_str() } else { "" }, self.names[&task.id])
        });
        rows.extend(tasks.iter().map(|task| self.row(task)));
        let widths: Vec<usize> = (0..6).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap()).collect();
        let mut table = String::new();
        for row in rows {
            let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
            writeln!(table, "| {}", line.trim_end()).unwrap();
        }
        table
    }

    fn row(&self, task: &Task) -> [String; 6] {
        let name = |state: TaskState| state.as_str_name().trim_start_matches("TASK_STATE_").to_lowercase();
        let place = match task.slot {
            0 => format!("{}.{}", task.service_id, task.node_id),
            slot => format!("{}.{slot}", task.service_id),
        };
        let node = if task.node_id.is_empty() { "-" } else { &task.node_id };
        [
            format!("t{}", self.names[&task.id]),
            place,
            node.to_owned(),
            name(task.desired_state()),
            name(task.state()),
            self.note(task),
        ]
    }

    fn note(&self, task: &Task) -> String {
        let err = task.status.as_ref().map(|status| status.err.clone()).unwrap_or_default();
        let not_before = Timestamp(task.restart.as_ref().map_or(0, |restart| restart.not_before));
        match not_before.since(self.world.now) {
            Duration::ZERO => err,
            wait if task.is_wanted() => format!("starts in {}s {err}", wait.as_secs()).trim_end().to_owned(),
            _ => err,
        }
    }
}

fn service_spec(options: &[&str]) -> Option<(Program, ServiceSpec)> {
    let mut program = Program::default();
    let mut mode = None;
    let mut restart = RestartPolicy::default();
    let mut placement = Placement::default();
    let mut reserved = Resources::default();
    for option in options {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key {
            "global" => mode = Some(Mode::Global(GlobalService {})),
            "replicas" => mode = Some(Mode::Replicated(ReplicatedService { replicas: value.parse().ok()? })),
            "program" => {
                program = match value {
                    "runs" => Program::Runs,
                    "crashes" => Program::Crashes,
                    "finishes" => Program::Finishes,
                    "is-rejected" => Program::IsRejected,
                    _ => return None,
                }
            }
            "restart" => {
                restart.set_condition(match value {
                    "any" => RestartCondition::Any,
                    "on-failure" => RestartCondition::OnFailure,
                    "none" => RestartCondition::None,
                    _ => return None,
                });
            }
            "delay" => restart.delay = Some(i64::try_from(span_of(value)?.as_nanos()).ok()?),
            "window" => restart.window = i64::try_from(span_of(value)?.as_nanos()).ok()?,
            "attempts" => restart.max_attempts = value.parse().ok()?,
            "constraint" => placement.constraints.push(value.into()),
            "max-per-node" => placement.max_replicas = value.parse().ok()?,
            "cpus" => reserved.nano_cpus = cpus(value),
            "memory" => reserved.memory_bytes = bytes(value),
            _ => return None,
        }
    }
    let task = TaskSpec {
        container: Some(ContainerSpec { image: "demo:1".into(), ..ContainerSpec::default() }),
        resources: Some(ResourceRequirements { reservations: Some(reserved), ..ResourceRequirements::default() }),
        restart: Some(restart),
        placement: Some(placement),
        ..TaskSpec::default()
    };
    Some((program, ServiceSpec { task: Some(task), mode, ..ServiceSpec::default() }))
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
