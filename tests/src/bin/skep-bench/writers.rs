//! Clients that write without pause while leaders die, and remember what was acknowledged.
//!
//! Owns the acknowledged names. Invariant: a name is remembered only once the engine has said that it is written; what
//! was refused or never answered may be there or not.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use skep_tests::request;

/// Between two writes of one client: they share the two cores with what they measure.
const PAUSE: Duration = Duration::from_millis(20);

/// One client per node, each asking its own node.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    /// When each acknowledged write was asked for.
    news: mpsc::Receiver<(Instant, Instant)>,
    clients: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Begins to create services of `spec`, which needs no name, through each of the sockets.
    pub(crate) fn start(sockets: Vec<PathBuf>, spec: &Value) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (heard, news) = mpsc::channel();
        let clients = sockets.into_iter().enumerate().map(|(client, socket)| {
            let (stop, acknowledged, heard, mut spec) =
                (stop.clone(), acknowledged.clone(), heard.clone(), spec.clone());
            std::thread::spawn(move || {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    count += 1;
                    let name = format!("w{client}-{count}");
                    spec["Name"] = json!(name);
                    let asked = Instant::now();
                    if request(&socket, "POST", "/services/create", Some(&spec)).is_ok() {
                        acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                        // Nobody listens once the measurement is over.
                        let _ = heard.send((asked, Instant::now()));
                    }
                    std::thread::sleep(PAUSE);
                }
            })
        });
        let clients = clients.collect();
        Self { stop, acknowledged, news, clients }
    }

    /// When the first write that was asked for after `moment` was acknowledged.
    pub(crate) fn first_after(&self, moment: Instant) -> Result<Instant> {
        loop {
            match self.news.recv_timeout(Duration::from_secs(120)) {
                Ok((asked, acknowledged)) if asked >= moment => return Ok(acknowledged),
                Ok(_) => {}
                Err(_) => bail!("waited in vain for a write after the leader's death"),
            }
        }
    }

    /// Stops the clients and gives all that was acknowledged.
    pub(crate) fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            if client.join().is_err() {
                eprintln!("a writing client failed");
            }
        }
        std::mem::take(&mut *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
