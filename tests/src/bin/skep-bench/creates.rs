//! How many services a second are accepted, each of them durable on a quorum, from many clients at once.
//!
//! The clients are threads that write a request made beforehand and read the answer's header, over connections that stay open:
//! what they take of the machine is printed beside the figure, so that it can be seen whether they are what is measured.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{cluster::Swarm, engine::Engine, memory::cpu_seconds, stats::percentile};

const CLIENTS: usize = 256;

/// Stands for a service's name.
const NAME: &str = "NAME-OF-THE-SERVICE";

/// How long they write.
const WHILE: Duration = Duration::from_secs(10);

/// Prints the figures of services without tasks, made through the leader.
pub(crate) fn run(engine: &dyn Engine, print: &mut dyn FnMut(&str, f64, &str)) -> Result<()> {
    let swarm = Swarm::new(engine);
    swarm.all_ready()?;
    let leader = swarm.leader(1)?;
    let (socket, daemons) = (engine.socket(leader), engine.daemons(leader));
    let cpu = || (cpu_seconds(&daemons), cpu_seconds(&[std::process::id()]));
    // Only the name differs: to print JSON anew for each would be the clients' time.
    let template = swarm.spec(NAME, 0).to_string();
    let (before, started, over) = (cpu(), Instant::now(), AtomicBool::new(false));
    let latencies: Vec<f64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (socket, over, template) = (&socket, &over, &template);
                scope.spawn(move || {
                    write(socket, over, |count| template.replacen(NAME, &format!("c{client}-{count}"), 1))
                })
            })
            .collect();
        thread::sleep(WHILE);
        over.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| bail!("a client panicked")))
            .collect::<Result<Vec<_>>>()
    })?
    .concat();
    let (took, after) = (started.elapsed().as_secs_f64(), cpu());
    let thousands = latencies.len() as f64 / 1000.0;
    print("creates_256", latencies.len() as f64 / took, "1/s");
    print("creates_256.p50", percentile(&latencies, 50.0), "ms");
    print("creates_256.p99", percentile(&latencies, 99.0), "ms");
    print("creates_256.leader_cpu", (after.0 - before.0) / thousands, "s per 1000");
    print("creates_256.clients_cpu", (after.1 - before.1) / thousands, "s per 1000");
    Ok(())
}

/// Creates one service after the other until it is over. Gives how long each took, ms.
fn write(socket: &Path, over: &AtomicBool, body: impl Fn(usize) -> String) -> Result<Vec<f64>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut latencies = Vec::new();
    let mut line = String::new();
    while !over.load(Ordering::Relaxed) {
        let body = body(latencies.len());
        let request = format!(
            "POST /v1.41/services/create HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let asked = Instant::now();
        stream.write_all(request.as_bytes())?;
        let mut length = None;
        let mut status = String::new();
        loop {
            line.clear();
            if answers.read_line(&mut line)? == 0 {
                bail!("the daemon hung up");
            }
            match line.trim_end() {
                "" => break,
                first if status.is_empty() => first.clone_into(&mut status),
                header => {
                    if let Some((name, value)) = header.split_once(':')
                        && name.eq_ignore_ascii_case("content-length")
                    {
                        length = Some(value.trim().parse::<usize>()?);
                    }
                }
            }
        }
        let mut answer = vec![0; length.context("an answer without a length")?];
        answers.read_exact(&mut answer)?;
        if !status.contains(" 201 ") {
            bail!("{status}: {}", String::from_utf8_lossy(&answer));
        }
        latencies.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(latencies)
}
