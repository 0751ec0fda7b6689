//! Who is a node, and in which role, whatever happens on the way: certificates that are due or ran out, roles changed back to
//! back, nodes that leave and join again, leaders that die meanwhile.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use skep_tests::{Cluster, Outcome, until};

const MANAGERS: [&str; 3] = ["n1", "n2", "n3"];

/// A command that must come to an end by itself, however loaded the machine is.
fn bounded(cluster: &Cluster, node: &str, args: &[&str]) -> Result<Outcome> {
    let all = ["exec", node, "timeout", "60", "skep"].into_iter().chain(args.iter().copied());
    cluster.script(&all.collect::<Vec<_>>())
}

fn pids(cluster: &Cluster, node: &str, service: &str, count: usize) -> Result<Vec<i64>> {
    let mut pids: Vec<i64> = cluster.wait_running(node, service, count)?.iter().map(|task| task.pid).collect();
    pids.sort_unstable();
    Ok(pids)
}

fn info(cluster: &Cluster, node: &str, format: &str) -> Result<String> {
    cluster.docker(node, &["info", "--format", format])?.success()
}

/// Starts these nodes with a clock that is wrong by `offset`.
fn start_with_clock(cluster: &Cluster, nodes: &[&str], offset: &str) -> Result<()> {
    for node in nodes {
        fs::write(cluster.path(node, "clock"), offset)?;
    }
    let all: Vec<&str> = ["start"].into_iter().chain(nodes.iter().copied()).collect();
    cluster.script(&all)?.success()?;
    Ok(())
}

#[test]
fn certificates_that_are_due_or_ran_out_cost_nobody_its_place() -> Result<()> {
    let cluster = Cluster::up(3, 1)?;
    cluster.docker("n1", &["node", "update", "--label-add", "rack=7", "n4"])?.success()?;
    let create = [
        "service",
        "create",
        "--name",
        "web",
        "--mode",
        "global",
        "--constraint",
        "node.role==manager",
        "skep/demo:1",
        "sleep",
        "100000",
    ];
    cluster.docker("n1", &create)?.success()?;
    let before = pids(&cluster, "n1", "web", 3)?;
    let members = cluster.docker("n1", &["node", "ls", "-q"])?.success()?;

    // First the certificates are due; then everything was off for longer than any of them lives.
    for offset in ["+80d", "+180d"] {
        cluster.script(&["kill", "n1", "n2", "n3", "n4"])?.success()?;
        start_with_clock(&cluster, &["n1", "n2", "n3", "n4"], offset)?;
        for node in MANAGERS {
            until(&format!("the managers ready {offset}"), || {
                let list = cluster.docker(node, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"])?.success()?;
                let ready = |name: &&str| list.lines().any(|line| line == format!("{name} Ready"));
                Ok(MANAGERS.iter().all(ready).then_some(()))
            })?;
        }
        ensure!(pids(&cluster, "n1", "web", 3)? == before, "{offset}: containers were restarted");
        let renewed = cluster.log("n1")?.contains("this manager has issued itself");
        ensure!(renewed == (offset == "+180d"), "{offset}: whether n1 issued its own certificate: {renewed}");
    }

    // A worker that was away past expiry says what to do, and comes back as the node it was.
    cluster.wait_status("n1", "n4", "Down")?;
    until("what to do", || {
        let error = info(&cluster, "n4", "{{.Swarm.Error}}")?;
        Ok(error.contains("swarm join --token").then_some(()))
    })?;
    let token = cluster.docker("n1", &["swarm", "join-token", "-q", "worker"])?.success()?;
    let wrong = token.replace(|c: char| c.is_ascii_digit(), "0");
    let refused = cluster.docker("n4", &["swarm", "join", "--token", &wrong, "10.78.0.1:2377"])?.refusal()?;
    ensure!(!refused.contains("already part of a swarm"), "{refused}");
    cluster.docker("n4", &["swarm", "join", "--token", &token, "10.78.0.1:2377"])?.success()?;
    cluster.wait_status("n1", "n4", "Ready")?;
    ensure!(cluster.docker("n1", &["node", "ls", "-q"])?.success()? == members, "the swarm has other nodes now");
    let label = cluster.docker("n1", &["node", "inspect", "--format", "{{.Spec.Labels.rack}}", "n4"])?.success()?;
    ensure!(label == "7", "the label is {label:?}");
    let again = cluster.docker("n4", &["swarm", "join", "--token", &token, "10.78.0.1:2377"])?.refusal()?;
    ensure!(again.contains("already part of a swarm"), "{again}");
    cluster.down()
}

#[test]
fn a_clock_that_is_behind_costs_a_manager_neither_its_certificate_nor_anybody_an_explanation() -> Result<()> {
    let cluster = Cluster::up(1, 1)?;
    let file = cluster.path("n1", "data/swarm/identity/node.crt");
    let issued = fs::read(&file)?;
    let clock = "the clock of this node says ";
    cluster.script(&["kill", "n1"])?.success()?;
    start_with_clock(&cluster, &["n1"], "-100d")?;
    // Nobody renews it: its own manager stands in for the swarm, so that what runs here goes on being managed.
    cluster.wait_status("n1", "n1", "Ready")?;
    let error = info(&cluster, "n1", "{{.Swarm.Error}}")?;
    ensure!(error.starts_with(clock) && error.contains("set the clock right"), "{error}");
    ensure!(fs::read(&file)? == issued, "the certificate was replaced");
    until("the other node says why it has no session", || {
        Ok(info(&cluster, "n2", "{{.Swarm.Error}}")?.contains(clock).then_some(()))
    })?;
    cluster.script(&["kill", "n1"])?.success()?;
    fs::remove_file(cluster.path("n1", "clock"))?;
    cluster.script(&["start", "n1"])?.success()?;
    cluster.wait_status("n1", "n2", "Ready")?;
    ensure!(fs::read(&file)? == issued, "the certificate was replaced");

    // Nor does a list of managers that is lost cost a node its swarm.
    cluster.script(&["kill", "n2"])?.success()?;
    fs::write(cluster.path("n2", "data/swarm/managers.json"), "spoiled")?;
    cluster.wait_status("n1", "n2", "Down")?;
    cluster.script(&["start", "n2"])?.success()?;
    cluster.wait_status("n1", "n2", "Ready")?;

    let token = cluster.docker("n1", &["swarm", "join-token", "-q", "worker"])?.success()?;
    cluster.script(&["add", "n3"])?.success()?;
    cluster.script(&["kill", "n3"])?.success()?;
    start_with_clock(&cluster, &["n3"], "-2d")?;
    let unfinished = cluster.docker("n3", &["swarm", "join", "--token", &token, "10.78.0.1:2377"])?.refusal()?;
    ensure!(unfinished.contains(clock) && unfinished.contains(" is valid from "), "{unfinished}");
    cluster.down()
}

#[test]
fn managers_that_were_all_replaced_are_told_so_and_how_to_come_back() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    let kept = ["n4", "n5"];
    cluster.script(&["kill", "n3"])?.success()?;
    cluster.script(&["add", "n4", "n5"])?.success()?;
    let token = cluster.docker("n1", &["swarm", "join-token", "-q", "manager"])?.success()?;
    for node in kept {
        cluster.docker(node, &["swarm", "join", "--token", &token, "10.78.0.1:2377"])?.success()?;
    }
    for node in ["n1", "n2"] {
        let votes = || {
            let list =
                cluster.docker("n4", &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"])?.success()?;
            let is =
                |node: &&str| list.lines().any(|line| line.starts_with(&format!("{node} ")) && !line.ends_with(' '));
            Ok(kept.iter().all(is).then_some(()))
        };
        until("the new ones manage", votes)?;
        bounded(&cluster, node, &["swarm", "leave", "--force"])?.success()?;
    }
    cluster.wait_for_leader("n4")?;
    cluster.script(&["start", "n3"])?.success()?;
    let what_to_do = "swarm leave --force";
    until("what to do", || Ok(info(&cluster, "n3", "{{.Swarm.Error}}")?.contains(what_to_do).then_some(())))?;
    let refused = cluster.docker("n3", &["node", "ls"])?.refusal()?;
    ensure!(refused.contains(what_to_do), "{refused}");
    bounded(&cluster, "n3", &["swarm", "leave", "--force"])?.success()?;
    cluster.docker("n3", &["swarm", "join", "--token", &token, "10.78.0.4:2377"])?.success()?;
    cluster.down()
}

/// Tells a daemon to stop and waits for its end.
fn end(cluster: &Cluster, node: &str, state: &str) -> Result<()> {
    let pid = fs::read_to_string(cluster.path(node, "daemon.pid"))?.trim().to_owned();
    std::process::Command::new("kill").arg(&pid).status()?;
    until(&format!("the end of a daemon {state}"), || {
        let process = std::path::PathBuf::from(format!("/proc/{pid}"));
        Ok((!process.exists()).then_some(()))
    })?;
    cluster.script(&["start", node])?.success()?;
    Ok(())
}

#[test]
fn a_daemon_that_is_told_to_stop_ends_whatever_it_is_at() -> Result<()> {
    let cluster = Cluster::bare(&["n1", "n2"])?;
    end(&cluster, "n1", "in no swarm")?;
    cluster.docker("n1", &["swarm", "init", "--advertise-addr", "10.78.0.1"])?.success()?;
    let token = cluster.docker("n1", &["swarm", "join-token", "-q", "worker"])?.success()?;
    let pending = |remote: &'static str| {
        let socket = format!("unix://{}", cluster.path("n2", "skep.sock").display());
        let child = std::process::Command::new("docker")
            .args(["-H", &socket, "swarm", "join", "--token", &token, remote])
            .stderr(std::process::Stdio::null())
            .spawn()?;
        until("a join under way", || {
            Ok((info(&cluster, "n2", "{{.Swarm.LocalNodeState}}")? == "pending").then_some(()))
        })?;
        anyhow::Ok(child)
    };
    // Nobody is at the first; the second takes the connection and says nothing: nothing accepts what the kernel has.
    let silent = "import socket,signal; s = socket.socket(); s.bind(('10.78.0.1', 9)); s.listen(9); print(1, flush=True); signal.pause()";
    let id = fs::read_to_string(cluster.path(".", "id"))?;
    let mut listener = std::process::Command::new("nsenter")
        .args([&format!("--net=/run/netns/{}-n1", id.trim()), "python3", "-c", silent])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    std::io::Read::read_exact(listener.stdout.as_mut().context("no output")?, &mut [0; 1])?;
    for remote in ["10.78.0.99:2377", "10.78.0.1:9"] {
        let mut joining = pending(remote)?;
        end(&cluster, "n2", &format!("that joins {remote}"))?;
        joining.wait()?;
        bounded(&cluster, "n2", &["swarm", "leave", "--force"])?.success()?;
    }
    listener.kill()?;
    listener.wait()?;
    // An image that never arrives.
    let mut half = std::os::unix::net::UnixStream::connect(cluster.path("n1", "skep.sock"))?;
    let head = "POST /v1.46/images/load HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: 1000000\r\n\r\n";
    std::io::Write::write_all(&mut half, head.as_bytes())?;
    end(&cluster, "n1", "that is being sent an image")?;
    cluster.down()
}

#[test]
fn a_manager_that_cannot_be_reached_hears_why_and_can_leave() -> Result<()> {
    let cluster = Cluster::bare(&["n1", "n2"])?;
    cluster
        .docker("n1", &["swarm", "init", "--listen-addr", "0.0.0.0:2500", "--advertise-addr", "10.78.0.1"])?
        .success()?;
    // Its own agent finds the port that is listened on.
    cluster.wait_status("n1", "n1", "Ready")?;
    let rules =
        "table inet t { chain c { type filter hook input priority 0; tcp dport 2377 reject with tcp reset; }; }";
    cluster.script(&["exec", "n2", "nft", rules])?.success()?;
    let token = cluster.docker("n1", &["swarm", "join-token", "-q", "manager"])?.success()?;
    // It is a node at once, and a manager never: the command gives up waiting.
    let unfinished = cluster.docker("n2", &["swarm", "join", "--token", &token, "10.78.0.1:2500"])?.refusal()?;
    let reason = "cannot reach this node at 10.78.0.2:2377";
    ensure!(unfinished.contains(reason), "{unfinished}");
    ensure!(info(&cluster, "n2", "{{.Swarm.Error}}")?.contains(reason));
    cluster.wait_status("n1", "n2", "Ready")?;
    bounded(&cluster, "n2", &["swarm", "leave", "--force"])?.success()?;
    ensure!(info(&cluster, "n2", "{{.Swarm.LocalNodeState}}")? == "inactive");
    cluster.wait_status("n1", "n2", "Down")?;

    // The same again, and the daemon is told to stop.
    cluster.docker("n1", &["node", "rm", "--force", "n2"])?.success()?;
    cluster.docker("n2", &["swarm", "join", "--token", &token, "10.78.0.1:2500"])?.refusal()?;
    let pid = fs::read_to_string(cluster.path("n2", "daemon.pid"))?.trim().to_owned();
    std::process::Command::new("kill").arg(&pid).status()?;
    until("the daemon's end", || Ok((!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())))?;
    cluster.script(&["exec", "n2", "nft", "delete table inet t"])?.success()?;
    cluster.script(&["start", "n2"])?.success()?;
    until("a manager after all", || {
        let status =
            cluster.docker("n1", &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"])?.success()?;
        Ok(status.lines().any(|line| line == "n2 Reachable").then_some(()))
    })?;
    cluster.down()
}

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap_or(0)
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

fn number(name: &str, default: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(default), |text| text.parse().context(name.to_owned()))
}

/// What every node was asked to be: whether it is a manager.
type Asked = BTreeMap<&'static str, bool>;

fn managers(asked: &Asked) -> Vec<&'static str> {
    asked.iter().filter(|(_, manages)| **manages).map(|(node, _)| *node).collect()
}

/// A manager that answers for the swarm.
fn spokesman(cluster: &Cluster, asked: &Asked, except: &str) -> Result<&'static str> {
    until("a manager that answers", || {
        let others = managers(asked).into_iter().filter(|node| *node != except);
        for node in others {
            if cluster.docker(node, &["node", "ls", "-q"])?.ok {
                return Ok(Some(node));
            }
        }
        Ok(None)
    })
}

/// At least three managers that vote, so that any one may go and the others can still decide.
fn three_vote(cluster: &Cluster, asked: &Asked) -> Result<()> {
    until("three managers that vote", || {
        let asker = spokesman(cluster, asked, "")?;
        let list = cluster.docker(asker, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"])?.success()?;
        let mut vote = 0;
        for node in managers(asked) {
            let known = [format!("{node} Leader"), format!("{node} Reachable")];
            // One that still catches up does not manage yet by its own account.
            let counts = list.lines().any(|line| known.iter().any(|known| known == line))
                && info(cluster, node, "{{.Swarm.ControlAvailable}}")? == "true";
            vote += u32::from(counts);
        }
        Ok((vote >= 3).then_some(()))
    })
}

fn settled(cluster: &Cluster, asked: &Asked) -> Result<Option<()>> {
    for (node, manages) in asked {
        let own = info(cluster, node, "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}")?;
        ensure!(own == format!("active {manages}"), "{node} says {own}, and is asked to manage: {manages}");
    }
    for asker in managers(asked) {
        let list = cluster
            .docker(asker, &["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}"])?
            .success()?;
        ensure!(list.lines().count() == asked.len(), "{asker} has other nodes:\n{list}");
        for (node, manages) in asked {
            let line = list.lines().find(|line| line.starts_with(&format!("{node} "))).unwrap_or_default();
            let right = match manages {
                true => line == format!("{node} Ready Leader") || line == format!("{node} Ready Reachable"),
                false => line.trim_end() == format!("{node} Ready"),
            };
            ensure!(right, "{asker} says of {node}, asked to manage: {manages}:\n{list}");
        }
    }
    Ok(Some(()))
}

/// What happened to it a manager can only find out by asking, for nobody calls it any more.
fn cut_off_demoted_and_promoted(cluster: &Cluster, asked: &Asked, node: &str) -> Result<()> {
    cluster.script(&["partition", node, "rest"])?.success()?;
    let asker = spokesman(cluster, asked, node)?;
    until("its demotion", || Ok(cluster.docker(asker, &["node", "demote", node])?.ok.then_some(())))?;
    until("consensus without it", || {
        let role = cluster.docker(asker, &["node", "inspect", "--format", "{{.ManagerStatus}}", node])?.success()?;
        Ok((role == "<nil>").then_some(()))
    })?;
    until("its promotion", || Ok(cluster.docker(asker, &["node", "promote", node])?.ok.then_some(())))?;
    cluster.script(&["heal"])?.success()?;
    Ok(())
}

fn leave_and_join(cluster: &Cluster, node: &str, asker: &str, manages: bool) -> Result<()> {
    let id = info(cluster, node, "{{.Swarm.NodeID}}")?;
    bounded(cluster, node, &["swarm", "leave", "--force"])?.success().with_context(|| format!("{node} leaves"))?;
    until("the former node removed", || {
        // Should it have left without the others' consent.
        cluster.docker(asker, &["node", "demote", &id])?;
        Ok(cluster.docker(asker, &["node", "rm", "--force", &id])?.ok.then_some(()))
    })?;
    let role = if manages { "manager" } else { "worker" };
    let token = cluster.docker(asker, &["swarm", "join-token", "-q", role])?.success()?;
    let manager = format!("10.78.0.{}:2377", asker.trim_start_matches('n'));
    let joined = bounded(cluster, node, &["swarm", "join", "--token", &token, &manager])?;
    ensure!(joined.ok || joined.stderr.contains("Timeout was reached"), "{node} joins: {joined:?}");
    Ok(())
}

/// `SKEP_CHURN_ROUNDS` rounds (50 for all of it) from `SKEP_CHURN_SEED`.
#[test]
fn roles_changed_back_to_back_end_as_they_were_asked_for() -> Result<()> {
    let (rounds, seed) = (number("SKEP_CHURN_ROUNDS", 7)?, number("SKEP_CHURN_SEED", 7)?);
    let cluster = Cluster::up(3, 2)?;
    let mut asked: Asked = [("n1", true), ("n2", true), ("n3", true), ("n4", false), ("n5", false)].into();
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut done = BTreeMap::<&str, u32>::new();
    for round in 0..rounds {
        let all: Vec<&'static str> = asked.keys().copied().collect();
        // The first rounds do one of each.
        let what = if round < 5 { usize::try_from(round)? } else { dice.roll(5) };
        if matches!(what, 1..=3) {
            three_vote(&cluster, &asked)?;
        }
        let told = match what {
            0 => {
                let node = dice.pick(&all);
                let asker = spokesman(&cluster, &asked, node)?;
                let times = 1 + dice.roll(4);
                for _ in 0..times {
                    let promote = !asked[node];
                    if !promote && managers(&asked).len() <= 3 {
                        break;
                    }
                    let verb = if promote { "promote" } else { "demote" };
                    until(verb, || Ok(cluster.docker(asker, &["node", verb, node])?.ok.then_some(())))?;
                    asked.insert(node, promote);
                }
                "promote and demote"
            }
            1 => {
                let spare = managers(&asked).len() > 3;
                let may_go: Vec<&'static str> = all.iter().copied().filter(|node| spare || !asked[node]).collect();
                let node = dice.pick(&may_go);
                let asker = spokesman(&cluster, &asked, node)?;
                let manages = dice.roll(2) == 0;
                leave_and_join(&cluster, node, asker, manages)?;
                asked.insert(node, manages);
                "leave and join"
            }
            2 => {
                let leader = until("a leader", || {
                    for node in managers(&asked) {
                        if let Ok(Some(leader)) = cluster.leader(node) {
                            return Ok(Some(leader));
                        }
                    }
                    Ok(None)
                })?;
                cluster.script(&["kill", &leader])?.success()?;
                // The others decide without it.
                spokesman(&cluster, &asked, &leader)?;
                cluster.script(&["start", &leader])?.success()?;
                "the leader killed"
            }
            3 => {
                let node = dice.pick(&managers(&asked));
                cut_off_demoted_and_promoted(&cluster, &asked, node)?;
                "cut off meanwhile"
            }
            _ => {
                until(&format!("everybody in its role after round {round} of seed {seed}"), || {
                    settled(&cluster, &asked)
                })?;
                "settled"
            }
        };
        eprintln!("round {round}: {told}; {asked:?}");
        *done.entry(told).or_default() += 1;
    }
    until(&format!("everybody in its role at the end of seed {seed}"), || settled(&cluster, &asked))?;
    ensure!(
        ["promote and demote", "leave and join", "the leader killed", "cut off meanwhile"]
            .iter()
            .all(|told| done.contains_key(told)),
        "{done:?}"
    );
    cluster.down()
}
