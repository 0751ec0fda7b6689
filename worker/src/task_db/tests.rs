//! task.db through good days and bad: what was saved is there again, and nothing that can be wrong with the files
//! keeps the node from starting.

use std::{fs, path::PathBuf, time::Duration};

use skep_proto::{
    Message as _,
    v1::{TaskState, TaskStatus},
};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{engine::Fault, *};

/// Generous: nothing here waits unless something is broken.
const LONG: Duration = Duration::from_secs(30);

struct Disk {
    directory: TempDir,
    message: NodeMessage,
}

impl Disk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), message: NodeMessage::new() }
    }

    fn database(&self) -> PathBuf {
        self.directory.path().join("task.db")
    }

    async fn open(&self) -> (TaskDb, TaskDbKeeper, Vec<String>) {
        let (db, keeper, tasks) = TaskDb::open(self.directory.path(), self.message.clone()).await;
        (db, keeper, tasks.into_iter().map(|task| task.id).collect())
    }

    /// A database with a few hundred records that have seen some change, closed.
    async fn filled(&self) {
        let (db, keeper, _) = self.open().await;
        for round in 0..3 {
            for n in 0..300 {
                drop(db.save(&task(&format!("task-{n:03}"), round)));
            }
            saved(db.forget("task-299")).await;
        }
        keeper.close().await;
    }

    fn quarantined(&self) -> usize {
        let names = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with("task.db.quarantined-")).count()
    }

    /// All files of the database.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![self.database()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { directories.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

fn task(id: &str, round: i64) -> Task {
    let status = TaskStatus { state: TaskState::Running.into(), timestamp: round, ..TaskStatus::default() };
    Task { id: id.into(), service_id: "s".repeat(500), status: Some(status), ..Task::default() }
}

async fn saved(save: impl Future<Output = ()>) {
    timeout(LONG, save).await.expect("the change is durable");
}

/// Whatever happened before: records can be kept, and are there the next time.
async fn assert_usable(disk: &Disk) {
    let (db, keeper, _) = disk.open().await;
    saved(db.save(&task("after", 9))).await;
    keeper.close().await;
    let (_, keeper, tasks) = disk.open().await;
    assert!(tasks.contains(&"after".to_owned()));
    keeper.close().await;
}

fn random(seed: &mut u64) -> u8 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 32) as u8
}

#[tokio::test]
async fn the_newest_record_of_each_task_is_there_again() {
    let disk = Disk::new();
    disk.filled().await;
    let (_, keeper, tasks) = TaskDb::open(disk.directory.path(), disk.message.clone()).await;
    assert_eq!(tasks.len(), 299);
    assert!(tasks.iter().all(|task| task.status.as_ref().unwrap().timestamp == 2));
    assert_eq!(disk.quarantined(), 0);
    keeper.close().await;
}

#[tokio::test]
async fn a_save_nobody_waits_for_is_made_all_the_same() {
    let disk = Disk::new();
    let (db, keeper, _) = disk.open().await;
    drop(db.save(&task("a", 0)));
    keeper.close().await;
    let (_, keeper, tasks) = disk.open().await;
    assert_eq!(tasks, ["a"]);
    keeper.close().await;
}

#[tokio::test]
async fn spoiled_files_go_into_quarantine() {
    type Spoil = fn(Vec<u8>, &mut u64) -> Vec<u8>;
    let spoils: [(&str, usize, Spoil); 5] = [
        ("noise of the same length", 1, |bytes, seed| bytes.iter().map(|_| random(seed)).collect()),
        ("a little noise", 1, |_, seed| (0..64).map(|_| random(seed)).collect()),
        ("zeros", 1, |bytes, _| vec![0; bytes.len()]),
        // For sled that is a database nobody has used yet.
        ("nothing", 0, |_, _| Vec::new()),
        ("half", 1, |bytes, _| bytes[..bytes.len() / 2].to_vec()),
    ];
    for (name, quarantined, spoil) in spoils {
        let disk = Disk::new();
        disk.filled().await;
        let mut seed = 0x9E37_79B9_7F4A_7C15;
        for file in disk.files() {
            fs::write(&file, spoil(fs::read(&file).unwrap(), &mut seed)).unwrap();
        }
        let (_, keeper, tasks) = disk.open().await;
        assert_eq!((tasks.len(), disk.quarantined()), (0, quarantined), "{name}");
        keeper.close().await;
        assert_usable(&disk).await;
    }
}

/// Here sled notices nothing, loses records, returns errors or panics, as the bytes fall.
#[tokio::test]
async fn scattered_noise_never_keeps_the_node_from_starting() {
    let disk = Disk::new();
    for seed in 1..=12 {
        disk.filled().await;
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed);
        let file = disk.database().join("db");
        let mut bytes = fs::read(&file).unwrap();
        for _ in 0..200 {
            let at = usize::from(random(&mut seed)) << 16
                | usize::from(random(&mut seed)) << 8
                | usize::from(random(&mut seed));
            let length = bytes.len();
            bytes[at % length] = random(&mut seed);
        }
        fs::write(&file, bytes).unwrap();
        assert_usable(&disk).await;
    }
    assert!(disk.quarantined() <= 2);
}

#[tokio::test]
async fn something_else_in_its_place_goes_into_quarantine() {
    let disk = Disk::new();
    fs::write(disk.database(), "a file").unwrap();
    assert_usable(&disk).await;
    assert_eq!(disk.quarantined(), 1);
}

#[tokio::test]
async fn a_record_that_is_no_task_spoils_the_database() {
    let disk = Disk::new();
    {
        let foreign = sled::open(disk.database()).unwrap();
        foreign.insert("task/task-1", task("task-2", 0).encode_to_vec()).unwrap();
        foreign.flush().unwrap();
    }
    let (_, keeper, tasks) = disk.open().await;
    assert_eq!((tasks.len(), disk.quarantined()), (0, 1));
    keeper.close().await;
}

#[tokio::test]
async fn a_database_somebody_else_holds_is_left_to_them() {
    let disk = Disk::new();
    let held = sled::open(disk.database()).unwrap();
    held.insert("task/task-1", task("task-1", 0).encode_to_vec()).unwrap();
    assert_usable(&disk).await;
    assert_eq!(disk.quarantined(), 1);
    held.flush().unwrap();
    assert_eq!(held.len(), 1, "it is whole, under its new name");
}

#[tokio::test]
async fn an_opening_that_killed_the_daemon_is_not_tried_again() {
    let disk = Disk::new();
    disk.filled().await;
    fs::write(disk.directory.path().join("task.db.opening"), "").unwrap();
    let (_, keeper, tasks) = disk.open().await;
    assert_eq!((tasks.len(), disk.quarantined()), (0, 1));
    keeper.close().await;
    let (_, keeper, _) = disk.open().await;
    assert_eq!(disk.quarantined(), 1);
    keeper.close().await;
}

/// A keeper in the test's own hands, to meet faults that cannot be made to order.
async fn keeper_of(disk: &Disk) -> (TaskDb, Keeper) {
    let shared =
        Arc::new(Shared { records: Mutex::default(), changed: Notify::new(), committed: watch::Sender::new(0) });
    let (keeper, _) = Keeper::open(Files::new(disk.directory.path()), Arc::clone(&shared), disk.message.clone()).await;
    (TaskDb { shared }, keeper)
}

#[tokio::test]
async fn after_any_fault_the_records_are_written_again() {
    for (fault, quarantined, message) in
        [(Fault::NoSpace, 0, "disk full"), (Fault::Panicked, 1, ""), (Fault::Stuck, 1, "")]
    {
        let disk = Disk::new();
        let (db, mut keeper) = keeper_of(&disk).await;
        let before = db.save(&task("before", 0));
        keeper.commit().await;
        saved(before).await;
        drop(db.save(&task("gone", 0)));
        keeper.commit().await;

        keeper.cope_with(&fault).await;
        assert_eq!((disk.quarantined(), disk.message.get().as_str()), (quarantined, message));
        let meanwhile = db.save(&task("meanwhile", 0));
        drop(db.forget("gone"));
        keeper.commit().await;

        keeper.look_again().await;
        saved(meanwhile).await;
        assert_eq!(disk.message.get(), "", "it is over by itself");
        keeper.close().await;
        let (_, keeper, tasks) = disk.open().await;
        assert_eq!(tasks, ["before", "meanwhile"]);
        keeper.close().await;
    }
}

#[tokio::test]
async fn wiping_leaves_nothing() {
    let disk = Disk::new();
    fs::write(disk.database(), "a file").unwrap();
    let (db, keeper, _) = disk.open().await;
    saved(db.save(&task("a", 0))).await;
    keeper.wipe().await;
    assert_eq!(fs::read_dir(disk.directory.path()).unwrap().count(), 0);
}
