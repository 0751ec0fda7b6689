//! One manager as a process, so that its CPU and memory are its own and it can be killed.
//!
//! Speaks to its parent in lines: says `ready <host:port>` once it is a member, then answers each line it reads with a
//! [`Report`]. It ends when its standard input does, which the kernel sees to when the parent dies.

use std::{
    fmt,
    io::{self, Write as _},
    path::Path,
    str::FromStr,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use skep_ca::{RootCa, Subject};
use skep_common::{
    clock::{Clock as _, SystemClock},
    feature_level::FEATURE_LEVEL,
    id::{Ids as _, RandomIds},
    limits::CERTIFICATE_LIFETIME,
    net::{
        dial::Dialer,
        identity::{Identity, IdentityHandle, new_key_and_csr},
        server::ServerLimits,
    },
};
use skep_manager::{Bootstrap, Manager, ManagerConfig, Membership, Start};
use skep_proto::v1::{Availability, ClusterSpec, NodeDescription, NodeRole};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

/// Where a manager's identity is, in its directory.
pub(crate) const IDENTITY: &str = "identity";

/// Every agent has one connection, and for a moment two more while it joins. All come from one address.
const CONNECTIONS: usize = 200_000;

/// How a manager stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) is_leader: bool,
    /// Bytes of the entries it has appended to its log.
    pub(crate) log_bytes: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.is_leader, self.log_bytes)
    }
}

impl FromStr for Report {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let (is_leader, log_bytes) = line.split_once(' ').context("a manager's report is cut short")?;
        Ok(Self { is_leader: is_leader.parse()?, log_bytes: log_bytes.parse()? })
    }
}

/// Runs a manager until standard input ends.
pub(crate) async fn run(dir: &Path, join: Option<String>) -> Result<()> {
    let mut questions = lines();
    let manager = tokio::select! {
        started = start(dir, join) => started?,
        // Nothing is asked of one that has not said a word.
        _ = questions.recv() => return Ok(()),
    };
    let status = manager.status();
    while questions.recv().await.is_some() {
        say(&Report { is_leader: status.borrow().is_leader, log_bytes: manager.log_bytes() }.to_string())?;
    }
    Ok(())
}

/// Starts a manager and returns once it is a member.
async fn start(dir: &Path, join: Option<String>) -> Result<Manager> {
    let listen = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listen.local_addr()?.to_string();
    let (identity, start) = match join {
        None => bootstrap(dir)?,
        Some(remote) => {
            let identity = IdentityHandle::new(Identity::load(&dir.join(IDENTITY))?);
            let remotes = vec![remote];
            let joined = skep_manager::join(&Dialer::new(identity.clone()), &remotes, &addr, FEATURE_LEVEL).await?;
            (identity, Start::Join { joined, remotes })
        }
    };
    let current = identity.current();
    let manager = Manager::start(ManagerConfig {
        node_id: current.node_id().to_owned(),
        cluster_id: current.cluster_id().to_owned(),
        data_dir: dir.join("manager"),
        listen,
        limits: ServerLimits {
            node_connections: CONNECTIONS,
            stranger_connections: CONNECTIONS,
            ..ServerLimits::default()
        },
        advertise_addr: addr.clone(),
        dialer: Dialer::new(identity.clone()),
        identity,
        clock: Arc::new(SystemClock::new()),
        feature_level: FEATURE_LEVEL,
        start,
        give_up: CancellationToken::new(),
    });
    let manager = manager.await?;
    let mut status = manager.status();
    status.wait_for(|status| status.membership == Membership::Member).await?;
    say(&format!("ready {addr}"))?;
    Ok(manager)
}

/// A new swarm, whose first manager this is.
fn bootstrap(dir: &Path) -> Result<(IdentityHandle, Start)> {
    let now = SystemClock::new().now();
    let (node_id, cluster_id) = (RandomIds.next_id(), RandomIds.next_id());
    let root_ca = RootCa::generate(now, &cluster_id)?;
    let (key, csr) = new_key_and_csr()?;
    let subject = Subject { node_id: &node_id, cluster_id: &cluster_id, role: NodeRole::Manager };
    let certificate = root_ca.issue(csr.as_bytes(), subject, now, CERTIFICATE_LIFETIME)?;
    let identity = Identity::from_pem(&certificate.certificate_pem, key, root_ca.certificate_pem())?;
    identity.save(&dir.join(IDENTITY)).context("cannot keep the identity")?;
    let first = Bootstrap {
        spec: ClusterSpec::default(),
        root_ca,
        certificate,
        availability: Availability::Drain,
        description: NodeDescription {
            hostname: "manager".into(),
            feature_level: FEATURE_LEVEL,
            ..NodeDescription::default()
        },
    };
    Ok((IdentityHandle::new(identity), Start::Bootstrap(Box::new(first))))
}

/// What the parent says, line by line, until it says nothing more.
pub(crate) fn lines() -> mpsc::Receiver<String> {
    let (heard, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        io::stdin().lines().map_while(Result::ok).try_for_each(|line| heard.blocking_send(line))
    });
    lines
}

pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_said() {
        for report in [Report { is_leader: true, log_bytes: 0 }, Report { is_leader: false, log_bytes: u64::MAX }] {
            assert_eq!(report.to_string().parse::<Report>().unwrap(), report);
        }
        assert!("true".parse::<Report>().is_err());
    }
}
