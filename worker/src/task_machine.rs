//! State machine of one task on its node.
//!
//! Owns the task's observed status (its only writer while the task is on the node) and the stage its container is in. Pure:
//! [`Event`]s in, [`Effect`]s out; the runner carries the effects out in order, one at a time, and feeds back the results.
//! Repeated, late or misplaced events change nothing.
//!
//! Invariants, whatever the order of events:
//! - the observed state only grows, and so does the desired one;
//! - a task starts at most one container, ever: [`Effect::Start`] follows only [`Event::Saved`], which says that the
//!   record with state STARTING is safe, and a task first seen at STARTING or later is never started;
//! - a container is stopped when it is no longer wanted, and stays (with its logs and exit code) until the swarm
//!   wants the task removed or has removed it;
//! - the record is removed last, after the container.

use std::time::Duration;

use skep_common::{
    clock::{Timestamp, duration},
    limits::{LEAVE_GRACE, STOP_GRACE},
};
use skep_proto::v1::{ContainerStatus, Task, TaskState, TaskStatus};
pub use skep_runtime::Exit;
use skep_runtime::container_id_of_task;

/// What the runtime has of a task when its machine begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No container.
    Nothing,
    /// A container that was prepared and never started.
    Created,
    /// A container that runs.
    Running {
        /// Its first process.
        pid: i32,
    },
    /// A container that ended.
    Exited(Exit),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first event of every machine: what the runtime has of the task.
    Adopted(Found),
    /// The desired state. A value lower than one seen before is outdated and ignored.
    Desired(TaskState),
    /// The task was removed from the swarm.
    Forgotten,
    /// The node leaves the swarm: the task is removed, and its container gets no longer than [`LEAVE_GRACE`] to end.
    Leaving,
    /// [`Effect::Prepare`] is done.
    Prepared,
    /// [`Effect::Prepare`] failed.
    PrepareFailed {
        /// Why, for people.
        err: String,
        /// This node will never be able to run the task (no such image, say); else it just failed.
        reject: bool,
    },
    /// The last [`Effect::Save`] is safe.
    Saved,
    /// [`Effect::Start`] is done.
    Started {
        /// The container's first process.
        pid: i32,
    },
    /// [`Effect::Start`] failed.
    StartFailed {
        /// Why, for people.
        err: String,
    },
    /// The container ended, by itself or because of [`Effect::Stop`].
    Exited(Exit),
    /// The runtime cannot tell any more what became of the started container.
    Lost {
        /// Why, for people.
        err: String,
    },
    /// [`Effect::Remove`] is done.
    Removed,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Make the container (image, root file system, bundle), without starting it.
    /// Answer: [`Event::Prepared`] or [`Event::PrepareFailed`].
    Prepare,
    /// Keep this record (the task with the status observed here). Answer: [`Event::Saved`]; the driver retries for
    /// as long as it takes and gives up only when a later effect is there to be done.
    Save(Box<Task>),
    /// Start the container. Answer: [`Event::Started`] or [`Event::StartFailed`], and in time [`Event::Exited`].
    Start,
    /// Ask the container to end, and kill it after the grace period. Answer: [`Event::Exited`]. A second one, with a
    /// shorter grace, takes the place of the first.
    Stop {
        /// Signal name or number as the user gave it; empty = the image's, else SIGTERM.
        signal: String,
        /// How long it may take.
        grace: Duration,
    },
    /// Remove the container and what is left of it. Answer: [`Event::Removed`]; the driver retries until it is gone.
    Remove,
    /// Tell the manager.
    Report(TaskStatus),
    /// Delete the record. The machine is finished.
    Forget,
}

/// Where the task's container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// [`Event::Adopted`] has not come yet.
    Unknown,
    /// There is none.
    Absent,
    /// Prepare was asked.
    Preparing,
    /// Made, not started.
    Prepared,
    /// On its way to be started: the record of that is being saved.
    Recording,
    /// Start was asked.
    Starting,
    Running,
    /// Stop was asked.
    Stopping,
    /// Nothing runs, and nothing will. Remains may exist.
    Ended,
    /// Remove was asked.
    Removing,
    /// The container is gone for good.
    Gone,
    /// So is the record.
    Finished,
}

/// The state machine of one task.
#[derive(Debug, Clone)]
pub struct TaskMachine {
    /// The task as assigned; its status and desired state are the machine's own.
    task: Task,
    stage: Stage,
    forgotten: bool,
    leaving: bool,
}

impl TaskMachine {
    /// The machine of a task, from its record or as the manager assigned it: the status in it is where it goes on
    /// from. Wants [`Event::Adopted`] first.
    pub fn new(mut task: Task) -> Self {
        task.status.get_or_insert_default();
        Self { task, stage: Stage::Unknown, forgotten: false, leaving: false }
    }

    /// The task with the status observed here: what a record holds.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The observed state.
    pub fn state(&self) -> TaskState {
        self.task.status.as_ref().map_or(TaskState::New, TaskStatus::state)
    }

    /// A container was started and its end is not known.
    pub fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Running | Stage::Stopping)
    }

    /// Container and record are gone; nothing follows.
    pub fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    /// Handles an event and returns the effects, in order. `now` is wall time.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let mut step = Step { machine: self, now, effects: Vec::new() };
        step.take_in(event);
        step.advance();
        step.effects
    }

    fn wants_stop(&self) -> bool {
        self.forgotten || self.task.desired_state() >= TaskState::Shutdown
    }

    fn wants_removal(&self) -> bool {
        self.forgotten || self.task.desired_state() == TaskState::Remove
    }

    fn stop(&self) -> Effect {
        let container = self.task.spec.as_ref().and_then(|spec| spec.container.as_ref());
        let grace = container.and_then(|container| container.stop_grace_period);
        let grace = grace.map_or(STOP_GRACE, duration);
        Effect::Stop {
            signal: container.map(|container| container.stop_signal.clone()).unwrap_or_default(),
            grace: if self.leaving { grace.min(LEAVE_GRACE) } else { grace },
        }
    }
}

/// One event being handled.
struct Step<'a> {
    machine: &'a mut TaskMachine,
    now: Timestamp,
    effects: Vec<Effect>,
}

impl Step<'_> {
    /// Notes the facts an event brings.
    fn take_in(&mut self, event: Event) {
        match (event, self.machine.stage) {
            (Event::Adopted(found), Stage::Unknown) => self.adopt(found),
            (Event::Desired(desired), _) => {
                let desired = self.machine.task.desired_state().max(desired);
                self.machine.task.set_desired_state(desired);
            }
            (Event::Forgotten, _) => self.machine.forgotten = true,
            (Event::Leaving, stage) => {
                let news = !std::mem::replace(&mut self.machine.leaving, true);
                self.machine.forgotten = true;
                if news && stage == Stage::Stopping {
                    self.effects.push(self.machine.stop());
                }
            }
            (Event::Prepared, Stage::Preparing) => self.prepared(),
            (Event::PrepareFailed { err, reject }, Stage::Preparing) => {
                self.machine.stage = Stage::Ended;
                let state = if reject { TaskState::Rejected } else { TaskState::Failed };
                self.conclude(state, "preparing", err);
            }
            (Event::Saved, Stage::Recording) => {
                self.machine.stage = Stage::Starting;
                self.effects.push(Effect::Start);
            }
            (Event::Started { pid }, Stage::Starting) => self.running(pid),
            (Event::StartFailed { err }, Stage::Starting) => {
                self.machine.stage = Stage::Ended;
                self.conclude(TaskState::Failed, "starting", err);
            }
            (Event::Exited(exit), Stage::Starting | Stage::Running | Stage::Stopping) => self.exited(exit),
            (Event::Lost { err }, Stage::Starting | Stage::Running | Stage::Stopping) => {
                self.machine.stage = Stage::Ended;
                self.lost(err);
            }
            (Event::Removed, Stage::Removing) => self.machine.stage = Stage::Gone,
            _ => {}
        }
    }

    /// Moves on as far as the desired state asks and the stage allows.
    fn advance(&mut self) {
        loop {
            let machine = &mut *self.machine;
            match machine.stage {
                Stage::Absent if machine.state() > TaskState::Running => machine.stage = Stage::Gone,
                Stage::Absent if machine.wants_stop() => {
                    machine.stage = Stage::Gone;
                    self.conclude(TaskState::Shutdown, "shutdown", String::new());
                }
                Stage::Absent => {
                    machine.stage = Stage::Preparing;
                    self.enter(TaskState::Accepted, "accepted");
                    self.enter(TaskState::Preparing, "preparing");
                    self.effects.push(Effect::Prepare);
                }
                Stage::Prepared | Stage::Recording if machine.wants_stop() => {
                    machine.stage = Stage::Ended;
                    self.conclude(TaskState::Shutdown, "shutdown", String::new());
                }
                Stage::Prepared if machine.task.desired_state() >= TaskState::Running => {
                    machine.stage = Stage::Recording;
                    self.enter(TaskState::Starting, "starting");
                    self.save();
                }
                // A container must not run on when the swarm counts its task as ended.
                Stage::Running if machine.wants_stop() || machine.state() > TaskState::Running => {
                    machine.stage = Stage::Stopping;
                    self.save();
                    self.effects.push(self.machine.stop());
                }
                Stage::Ended if machine.wants_removal() => {
                    machine.stage = Stage::Removing;
                    self.effects.push(Effect::Remove);
                }
                Stage::Gone if machine.forgotten => {
                    machine.stage = Stage::Finished;
                    self.effects.push(Effect::Forget);
                }
                _ => return,
            }
        }
    }

    /// The daemon has (re)started with the task. From STARTING on a container may have run: a task whose container is not
    /// running is over.
    fn adopt(&mut self, found: Found) {
        let may_have_started = self.machine.state() >= TaskState::Starting;
        match found {
            Found::Nothing if may_have_started => {
                self.machine.stage = Stage::Absent;
                self.lost("task: its container is gone".into());
            }
            Found::Nothing => self.machine.stage = Stage::Absent,
            Found::Created if may_have_started => {
                self.machine.stage = Stage::Ended;
                self.lost("task: the node went down while the container was starting".into());
            }
            Found::Created => self.prepared(),
            Found::Running { pid } => self.running(pid),
            Found::Exited(exit) => self.exited(exit),
        }
    }

    fn prepared(&mut self) {
        self.machine.stage = Stage::Prepared;
        self.enter(TaskState::Ready, "prepared");
    }

    fn running(&mut self, pid: i32) {
        self.machine.stage = Stage::Running;
        self.container().pid = pid;
        self.enter(TaskState::Running, "started");
        // So that the next daemon knows since when.
        self.save();
    }

    fn exited(&mut self, exit: Exit) {
        self.machine.stage = Stage::Ended;
        let container = self.container();
        container.exit_code = exit.code;
        container.oom_killed = exit.oom;
        self.now = exit.at;
        if self.machine.wants_stop() {
            self.conclude(TaskState::Shutdown, "shutdown", String::new());
        } else if exit.code == 0 {
            self.conclude(TaskState::Complete, "finished", String::new());
        } else {
            self.conclude(TaskState::Failed, "started", failure(&exit));
        }
    }

    fn lost(&mut self, err: String) {
        if self.machine.wants_stop() {
            self.conclude(TaskState::Shutdown, "shutdown", String::new());
        } else {
            self.conclude(TaskState::Failed, "started", err);
        }
    }

    /// Enters a final state, unless the task is in one already.
    fn conclude(&mut self, state: TaskState, message: &str, err: String) {
        if self.machine.state() > TaskState::Running {
            return;
        }
        self.status().err = err;
        self.enter(state, message);
        self.save();
    }

    /// Moves the observed state forward; an earlier state is ignored.
    fn enter(&mut self, state: TaskState, message: &str) {
        if state <= self.machine.state() {
            return;
        }
        let now = self.now;
        let status = self.status();
        status.set_state(state);
        status.timestamp = now.as_nanos();
        status.message = message.into();
        let report = status.clone();
        self.effects.push(Effect::Report(report));
    }

    fn save(&mut self) {
        if matches!(self.effects.last(), Some(Effect::Save(_))) {
            self.effects.pop();
        }
        self.effects.push(Effect::Save(Box::new(self.machine.task.clone())));
    }

    fn status(&mut self) -> &mut TaskStatus {
        self.machine.task.status.get_or_insert_default()
    }

    fn container(&mut self) -> &mut ContainerStatus {
        let id = container_id_of_task(&self.machine.task.id);
        let container = self.status().container.get_or_insert_default();
        container.container_id = id;
        container
    }
}

/// Docker's words for a container that failed.
fn failure(exit: &Exit) -> String {
    match &exit.error {
        Some(error) => format!("task: non-zero exit ({}): {error}", exit.code),
        None => format!("task: non-zero exit ({})", exit.code),
    }
}

#[cfg(test)]
mod tests;
