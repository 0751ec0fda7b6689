//! A plan that does not fit into one entry: between its parts nothing is more than it may be.

use skep_core::task::TaskExt;
use skep_proto::v1::{
    Annotations, ContainerSpec, ReplicatedService, ServiceSpec, TaskCause, TaskSpec, TaskState, UpdateConfig,
    service_spec::Mode,
};

use crate::world::{Planner, Program, World};

const PARALLELISM: u64 = 3;

fn under_way(world: &World) -> u64 {
    let tasks = world.view.tasks_of_service("web").filter(|task| task.is_wanted() && task.cause() == TaskCause::Update);
    tasks.filter(|task| task.state() < TaskState::Running).count() as u64
}

#[test]
fn a_service_that_shrinks_in_the_middle_of_an_update_keeps_its_parallelism_in_every_entry() {
    let mut world = World::new(1);
    world.add_node("n1", |_| {});
    let container = |image: &str| Some(ContainerSpec { image: image.into(), ..ContainerSpec::default() });
    let spec = ServiceSpec {
        annotations: Some(Annotations::default().into()),
        task: Some(TaskSpec { container: container("a"), ..TaskSpec::default() }.into()),
        mode: Some(Mode::Replicated(ReplicatedService { replicas: 600 })),
        update: Some(UpdateConfig { parallelism: PARALLELISM, ..UpdateConfig::default() }),
        ..ServiceSpec::default()
    };
    world.add_service("web", Program::Runs, spec);
    world.converge();
    world.update_service("web", |spec| {
        let task = spec.task.take().unwrap_or_default();
        spec.task = Some(TaskSpec { container: container("b"), ..TaskSpec::clone(&task) }.into());
    });
    world.run(Planner::Orchestrator);
    assert_eq!(under_way(&world), PARALLELISM, "the update is not under way");

    world.scale("web", 4);
    let plan = world.plan(Planner::Orchestrator);
    assert!(plan.transactions.len() > 1, "the plan fits into one entry");
    for transaction in &plan.transactions {
        world.commit(transaction);
        assert!(under_way(&world) <= PARALLELISM, "{} tasks are updated at a time", under_way(&world));
    }
}
