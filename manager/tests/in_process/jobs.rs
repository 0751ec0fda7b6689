//! Jobs on one manager with an agent whose programs all finish at once.

use skep_proto::v1::{
    CreateServiceRequest, GetObjectRequest, JobOutcome, ListServicesRequest, ReplicatedJob, Service, ServiceSpec,
    ServiceWithStatus, service_spec::Mode,
};
use tonic::Code;

use crate::support::{
    agent::Agent,
    cluster::{Member, TestManager, spec},
    eventually,
};

fn job(name: &str, schedule: Option<&str>) -> ServiceSpec {
    let mut spec = ServiceSpec {
        mode: Some(Mode::ReplicatedJob(ReplicatedJob { max_concurrent: 2, total_completions: 3 })),
        ..spec(name, 0)
    };
    let labels = &mut spec.annotations.get_or_insert_default().labels;
    labels.extend(schedule.map(|schedule| ("skep.schedule".to_owned(), schedule.to_owned())));
    spec
}

async fn create(manager: &TestManager, spec: ServiceSpec) -> Service {
    manager.control().create_service(CreateServiceRequest { spec: Some(spec) }).await.unwrap().into_inner()
}

async fn listed(manager: &TestManager, name: &str) -> ServiceWithStatus {
    let request = ListServicesRequest { name_prefixes: vec![name.into()], ..Default::default() };
    manager.control().list_services(request).await.unwrap().into_inner().services.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_completes_and_is_counted_by_its_newest_run() {
    let manager = TestManager::bootstrap(Default::default()).await;
    let token = manager.cluster().await.join_tokens.unwrap().worker;
    let member = Member::enroll(&manager.addr, &token).await.unwrap();
    let _agent = Agent::start(member, "w1", std::slice::from_ref(&manager.addr));
    create(&manager, job("count", None)).await;
    for run in 1..=2 {
        eventually("all completions of the run", || async {
            let seen = listed(&manager, "count").await;
            let iteration = seen.service.and_then(|service| service.job).unwrap_or_default().iteration;
            assert!(seen.completed_tasks <= 3 && seen.desired_tasks == 2);
            (iteration == run && seen.completed_tasks == 3 && seen.running_tasks == 0).then_some(())
        })
        .await;
        manager.control().run_job(GetObjectRequest { key: "count".into() }).await.unwrap();
    }
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_fires_and_its_runs_end() {
    let manager = TestManager::bootstrap(Default::default()).await;
    let token = manager.cluster().await.join_tokens.unwrap().worker;
    let member = Member::enroll(&manager.addr, &token).await.unwrap();
    let _agent = Agent::start(member, "w1", std::slice::from_ref(&manager.addr));
    let made = create(&manager, job("tick", Some("@every 1s"))).await;
    assert_eq!(made.job.unwrap().iteration, 0, "a scheduled job does not run when it is made");
    eventually("two runs of the schedule are over", || async {
        let runs = manager.service("tick").await.job.unwrap().runs;
        let over = runs.iter().filter(|run| run.outcome() == JobOutcome::Complete && run.scheduled_at != 0);
        (over.count() >= 2).then_some(())
    })
    .await;
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused() {
    let manager = TestManager::bootstrap(Default::default()).await;
    manager.create("web", 1).await;
    let run = |key: &str| {
        let (mut control, key) = (manager.control(), key.to_owned());
        async move { control.run_job(GetObjectRequest { key }).await }
    };
    let refused = run("web").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let expected = "service web cannot be run now: only a replicated job or a global job can be run";
    assert_eq!(refused.message(), expected);
    assert_eq!(run("nosuch").await.unwrap_err().code(), Code::NotFound);

    let mut forbidding = job("slow", Some("@daily"));
    forbidding.annotations.get_or_insert_default().labels.insert("skep.concurrency".into(), "forbid".into());
    create(&manager, forbidding).await;
    // There is no node: the run is not over.
    assert_eq!(run("slow").await.unwrap().into_inner().job.unwrap().iteration, 1);
    assert_eq!(run("slow").await.unwrap_err().code(), Code::FailedPrecondition);

    let request = CreateServiceRequest { spec: Some(job("bad", Some("@never"))) };
    let bad = manager.control().create_service(request).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    assert!(bad.message().starts_with("label skep.schedule=\"@never\" is not five fields of cron"), "{bad}");
    manager.manager.shutdown().await;
}
