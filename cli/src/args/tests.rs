//! What a line means, what is refused, and that every help text is there.

use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Skep, clap::Error> {
    Skep::try_parse_from(std::iter::once("skep").chain(line.split(' ')))
}

#[test]
fn no_argument_contradicts_another() {
    Skep::command().debug_assert();
}

#[test]
fn every_command_can_be_typed() {
    let lines = [
        "version",
        "info",
        "--host unix:///x version",
        "-H unix:///x node ls",
        "daemon -H unix:///a --host unix:///b --data-root /d --label a=b -l debug",
        "events --since 10m --until 5m --filter type=node",
        "ps -aq --no-trunc --filter name=x",
        "image load --quiet --input a.tar",
        "image load -q -i a.tar",
        "image list --digests -a -f reference=x busybox",
        "swarm init --advertise-addr 10.0.0.1 --listen-addr eth0:2377 --task-history-limit -1 --cert-expiry 48h",
        "swarm join --token T --advertise-addr 10.0.0.2 --availability drain 10.0.0.1:2377",
        "swarm join-token -q manager",
        "swarm join-token --rotate worker",
        "swarm leave -f",
        "swarm update --dispatcher-heartbeat 2s --snapshot-interval 5",
        "node list -q -f role=manager",
        "node inspect --pretty self n2",
        "node update --availability pause --label-add a=b --label-rm c --role worker n1",
        "node update --availability drain --wait --timeout 5m n1",
        "node promote n1 n2",
        "node demote n1",
        "node remove --force n1",
        "node ps",
        "node ps --no-resolve -f desired-state=running n1 n2",
        "service list -qf name=web",
        "service ps --no-trunc web api",
        "service inspect --pretty web",
        "service scale -d web=3 api=0",
        "service explain --since 10m --limit 5 web",
        "task explain --format json t",
        "node explain self",
        "swarm history --since 2024-05-06 --limit 1000",
        "service create --mode replicated-job --replicas 5 --max-concurrent 2 --generic-resource gpu=1 a:1",
        "service update --max-concurrent 2 --generic-resource-add gpu=1 --generic-resource-rm ssd web",
        "daemon --node-generic-resource gpu=UUID1 --node-generic-resource gpu=UUID2",
        "service rollback -q web",
        "service rollback --to 3 -d web",
        "service revisions web",
        "service rm web api",
        "service logs -ft -n 5 --since 10m --raw --details --no-resolve --no-task-ids --no-trunc web",
        "service update --image a:2 --args x --force --env-add A=1 --env-rm B --tty=false --limit-cpu 0.5 -d web",
    ];
    for line in lines {
        assert!(
            parse(line).is_ok(),
            "{line}: {}",
            parse(line).err().map(|error| error.to_string()).unwrap_or_default()
        );
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let lines = [
        "nosuch",
        "swarm join-token boss",
        "swarm join 10.0.0.1:2377",
        "node ls --filter nonsense",
        "node update --availability asleep n1",
        "node promote",
        "service scale web",
        "service explain --limit 0 web",
        "swarm history --limit 1001",
        "node explain",
        "service scale web=-1",
        "service create --replicas x img",
        "service create --restart-delay 5 img",
        "service create --log-opt a=b img",
        "service create --rollback-failure-action rollback img",
        "service create",
        "service create --nosuch img",
        "service create --volume /a:/b img",
        "service logs",
        "--host a --host b version",
    ];
    for line in lines {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn help_and_version_are_where_one_looks_for_them() {
    use clap::error::ErrorKind::*;
    let table = [
        ("--version", DisplayVersion),
        ("-v", DisplayVersion),
        ("--help", DisplayHelp),
        ("help", DisplayHelp),
        ("help service create", DisplayHelp),
        ("service help create", DisplayHelp),
    ];
    for (line, kind) in table {
        assert_eq!(parse(line).unwrap_err().kind(), kind, "{line}");
    }
}

#[test]
fn all_behind_the_image_is_the_command() {
    let line = "service create --name web --replicas 3 img:1 sh -c --name --replicas=x -d";
    let Ok(Skep { command: Command::Service(ServiceCommand::Create(args)), .. }) = parse(line) else {
        panic!("{line}")
    };
    assert_eq!(args.image_and_args, ["img:1", "sh", "-c", "--name", "--replicas=x", "-d"]);
    assert_eq!((args.name.as_str(), args.spec.replicas, args.wait.detach), ("web", Some(3), false));
}

#[test]
fn flags_may_say_what_they_are() {
    let tty = |line: &str| match parse(line) {
        Ok(Skep { command: Command::Service(ServiceCommand::Create(args)), .. }) => args.spec.tty,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(tty("service create img"), None);
    assert_eq!(tty("service create -t img"), Some(true));
    assert_eq!(tty("service create --tty=false img"), Some(false));
}
