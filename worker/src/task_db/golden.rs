//! What earlier releases left in task.db is opened, read and gone on with.
//!
//! `worker/golden/` has a database for each feature level since the formats were frozen, with tasks that run and tasks that are
//! over. It is made once, with the first release of its level, and never again:
//!
//! ```text
//! cargo nextest run -p skep-worker --run-ignored only golden
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use skep_common::feature_level::FEATURE_LEVEL;
use skep_proto::v1::{
    Annotations, ContainerSpec, ContainerStatus, Endpoint, EndpointSpec, GenericResource, Meta, PortConfig,
    RestartState, Task, TaskCause, TaskSpec, TaskState, TaskStatus, generic_resource::Value,
};
use tempfile::TempDir;

use super::*;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// A task of one of two revisions, or one that carries what it is made from itself.
fn task(id: &str, revision: u64, state: TaskState) -> Task {
    let container = ContainerSpec { image: format!("busybox:{revision}"), ..ContainerSpec::default() };
    let labels = [("of".to_owned(), revision.to_string())].into();
    let ports = vec![PortConfig { published: 8080, target: 80, ..PortConfig::default() }];
    let is_over = state > TaskState::Running;
    Task {
        id: id.to_owned(),
        meta: Some(Meta { version: 11, created_at: 12, updated_at: 13 }),
        service_id: "service".to_owned(),
        slot: 3,
        node_id: "node".to_owned(),
        spec: Some(TaskSpec { container: Some(container), force_update: 4, ..TaskSpec::default() }.into()),
        revision,
        service: Some(Annotations { name: "web".to_owned(), labels }.into()),
        status: Some(TaskStatus {
            state: state.into(),
            timestamp: 14,
            message: "said".to_owned(),
            err: if is_over { "why".to_owned() } else { String::new() },
            container: Some(ContainerStatus {
                container_id: "c".repeat(64),
                pid: 15,
                exit_code: i32::from(is_over) * 137,
                oom_killed: is_over,
            }),
            applied_at: 16,
            running_at: 17,
        }),
        desired_state: if is_over { TaskState::Shutdown } else { TaskState::Running }.into(),
        restart: Some(RestartState { attempts: 18, ..RestartState::default() }.into()),
        job_iteration: 19,
        cause: TaskCause::Update.into(),
        replaces: "before".to_owned(),
        generic_resources: vec![GenericResource { kind: "gpu".to_owned(), value: Some(Value::Named("g1".into())) }],
        endpoint: Some(Endpoint { spec: Some(EndpointSpec { ports, ..EndpointSpec::default() }.into()) }),
        spec_of_revision: false,
        service_of_revision: false,
        feature_level: 1,
    }
}

fn tasks() -> Vec<Task> {
    let same = [("a", TaskState::Running), ("b", TaskState::Running), ("c", TaskState::Failed)];
    let same = same.into_iter().map(|(id, state)| task(id, 7, state));
    same.chain([task("d", 8, TaskState::Complete), task("e", 0, TaskState::Preparing)]).collect()
}

async fn saved(save: impl Future<Output = ()>) {
    tokio::time::timeout(std::time::Duration::from_secs(30), save).await.expect("the change is durable");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Opens it, and closes it again when that has been done to it; what it held.
async fn open(directory: &TempDir, act: impl AsyncFnOnce(&TaskDb)) -> Vec<Task> {
    let (db, keeper, mut tasks) = TaskDb::open(directory.path(), NodeMessage::new()).await;
    act(&db).await;
    keeper.close().await;
    assert_eq!(names(directory.path()), ["task.db"], "nothing was put aside");
    tasks.sort_by(|a, b| a.id.cmp(&b.id));
    tasks
}

#[tokio::test]
async fn what_earlier_releases_left_is_opened_and_gone_on_with() {
    let mut levels = 0;
    for level in fs::read_dir(golden()).unwrap() {
        let directory = tempfile::tempdir().unwrap();
        let packed = zstd::Decoder::new(fs::File::open(level.unwrap().path()).unwrap()).unwrap();
        tar::Archive::new(packed).unpack(directory.path()).unwrap();
        let (ended, new) = (task("a", 7, TaskState::Shutdown), task("f", 8, TaskState::Running));
        let act = async |db: &TaskDb| {
            saved(db.save(&ended)).await;
            saved(db.save(&new)).await;
            saved(db.forget("b")).await;
        };
        assert_eq!(open(&directory, act).await, tasks());
        let mut expected = tasks();
        expected.push(new.clone());
        expected[0] = ended.clone();
        expected.remove(1);
        assert_eq!(open(&directory, async |_| {}).await, expected);
        levels += 1;
    }
    assert!(levels > 0);
}

#[tokio::test]
#[ignore = "makes the golden file of this level"]
async fn the_golden_file_of_this_level_is_made() {
    let file = golden().join(format!("level-{FEATURE_LEVEL}.tar.zst"));
    assert!(!file.exists(), "{} is never made again", file.display());
    let directory = tempfile::tempdir().unwrap();
    open(&directory, async |db| {
        for task in tasks() {
            saved(db.save(&task)).await;
        }
    })
    .await;
    fs::create_dir_all(golden()).unwrap();
    let mut archive = tar::Builder::new(zstd::Encoder::new(fs::File::create(file).unwrap(), 19).unwrap());
    archive.append_dir_all(".", directory.path()).unwrap();
    archive.into_inner().unwrap().finish().unwrap();
}
