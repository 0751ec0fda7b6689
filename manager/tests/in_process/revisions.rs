//! Revisions of a service on one manager: they are counted, listed, gone back to, and forgotten.

use skep_proto::v1::{
    ClusterSpec, GetObjectRequest, ListRevisionsReply, ListTasksRequest, RollBackServiceRequest, ServiceSpec,
    UpdateServiceRequest, service_spec::Mode,
};
use tonic::{Code, Status};

use crate::support::{
    agent::Agent,
    cluster::{Member, TestManager, spec},
    eventually,
};

/// What an update under way may have done to the service since it was read.
fn is_out_of_sequence<T>(answer: &Result<T, Status>) -> bool {
    answer.as_ref().is_err_and(|status| status.message() == "update out of sequence")
}

async fn update(manager: &TestManager, edit: impl Fn(&mut ServiceSpec)) {
    loop {
        let service = manager.service("web").await;
        let mut spec = service.spec.unwrap();
        edit(&mut spec);
        let version = service.meta.unwrap().version;
        let update = UpdateServiceRequest { key: "web".into(), version, spec: Some(spec), ..Default::default() };
        let answer = manager.control().update_service(update).await;
        if !is_out_of_sequence(&answer) {
            answer.unwrap();
            return;
        }
    }
}

async fn roll_back(manager: &TestManager, to: u64) -> Result<u64, Status> {
    loop {
        let version = manager.service("web").await.meta.unwrap().version;
        let request = RollBackServiceRequest { key: "web".into(), version, to };
        let answer = manager.control().roll_back_service(request).await;
        if !is_out_of_sequence(&answer) {
            return Ok(answer?.into_inner().meta.unwrap().version - version);
        }
    }
}

async fn revisions(manager: &TestManager) -> ListRevisionsReply {
    manager.control().list_revisions(GetObjectRequest { key: "web".into() }).await.unwrap().into_inner()
}

fn numbers(listed: &ListRevisionsReply) -> Vec<u64> {
    listed.revisions.iter().map(|revision| revision.number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_goes_back_to_any_revision_that_is_kept() {
    let manager = TestManager::bootstrap(ClusterSpec { task_history_limit: 1, ..Default::default() }).await;
    let token = manager.cluster().await.join_tokens.unwrap().worker;
    let member = Member::enroll(&manager.addr, &token).await.unwrap();
    let _agent = Agent::start(member, "w1", std::slice::from_ref(&manager.addr));
    let all_of = |revision: u64, count: u64| {
        let manager = &manager;
        async move {
            eventually("all tasks are of the revision", || async {
                let listed = revisions(manager).await;
                let it = listed.revisions.iter().find(|it| it.number == revision)?;
                (it.running_tasks == count
                    && listed.revisions.iter().all(|o| o.number == revision || o.running_tasks == 0))
                .then_some(())
            })
            .await;
        }
    };

    manager.create("web", 2).await;
    all_of(1, 2).await;
    for force in 1..=12 {
        update(&manager, |spec| {
            spec.update = Some(skep_proto::v1::UpdateConfig { parallelism: 0, monitor: 1, ..Default::default() });
            spec.task.get_or_insert_default().force_update = force;
        })
        .await;
        all_of(force + 1, 2).await;
    }
    update(&manager, |spec| {
        let Some(Mode::Replicated(mode)) = &mut spec.mode else { panic!("it is replicated") };
        mode.replicas = 3;
    })
    .await;
    all_of(13, 3).await;
    // The previous one of the tasks is history of theirs no longer.
    eventually("the last ten are kept", || async {
        (numbers(&revisions(&manager).await) == (4..=13).rev().collect::<Vec<u64>>()).then_some(())
    })
    .await;

    let gone = roll_back(&manager, 2).await.unwrap_err();
    assert_eq!(gone.code(), Code::FailedPrecondition);
    let kept = "revision 2 of service web is not kept: it can go back to 4, 5, 6, 7, 8, 9, 10, 11, 12 or 13";
    assert_eq!(gone.message(), kept);
    assert!(roll_back(&manager, 5).await.unwrap() > 0);
    all_of(5, 3).await;
    let listed = revisions(&manager).await;
    assert_eq!((listed.current, listed.previous), (5, Some(13)));
    let service = manager.service("web").await;
    assert_eq!(service.spec.as_ref().unwrap().task.as_ref().unwrap().force_update, 4);
    eventually("the rollback is over", || async {
        let status = manager.service("web").await.update_status?;
        (status.completed_at != 0).then_some(())
    })
    .await;
    assert_eq!(roll_back(&manager, 5).await.unwrap(), 0, "it is there already and stays as it is");
    update(&manager, |spec| spec.task.get_or_insert_default().force_update = 99).await;
    all_of(14, 3).await;

    manager.control().remove_service(GetObjectRequest { key: "web".into() }).await.unwrap();
    eventually("the tasks of the removed service are forgotten", || async {
        let all = manager.control().list_tasks(ListTasksRequest::default()).await.unwrap().into_inner().tasks;
        all.is_empty().then_some(())
    })
    .await;
    // One of its name begins anew.
    manager.create("web", 1).await;
    assert_eq!(numbers(&revisions(&manager).await), [1]);
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_state_that_has_moved_on_is_refused() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let made = manager.create("web", 1).await;
    update(&manager, |spec| spec.task.get_or_insert_default().force_update = 1).await;
    let stale = RollBackServiceRequest { key: "web".into(), version: made.meta.unwrap().version, to: 1 };
    let refused = manager.control().roll_back_service(stale).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unknown, "update out of sequence"));
    let nosuch = manager.control().list_revisions(GetObjectRequest { key: "nosuch".into() }).await.unwrap_err();
    assert_eq!((nosuch.code(), nosuch.message()), (Code::NotFound, "service nosuch not found"));
    assert_eq!(spec("web", 1).task, manager.service("web").await.previous_spec.unwrap().task);
    manager.manager.shutdown().await;
}
