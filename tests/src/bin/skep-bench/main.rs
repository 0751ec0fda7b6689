//! `skep-bench`: figures of a real cluster, one `name<TAB>value<TAB>unit` a line, for skep and for a real Docker Swarm
//! in the same run. Both are asked over the Docker Engine API by the same code; only how nodes are started and killed differs.

mod cluster;
mod engine;
mod http;
mod memory;
mod stats;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::engine::{Docker, Engine, Skep};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("cluster") => {}
        _ => bail!("usage: skep-bench cluster SCRIPTS-DIRECTORY [--against-docker] [--rounds N]"),
    }
    let scripts = PathBuf::from(args.next().unwrap_or_else(|| "scripts".to_owned()));
    let (mut against_docker, mut rounds) = (false, 20);
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--against-docker" => against_docker = true,
            "--rounds" => rounds = args.next().unwrap_or_default().parse()?,
            other => bail!("unknown flag {other}"),
        }
    }
    measure(&Skep::up(&scripts)?, rounds)?;
    if against_docker {
        // The original takes a quarter of a minute for each: three say enough.
        measure(&Docker::up(&scripts)?, rounds.min(3))?;
    }
    Ok(())
}

/// Prints every figure of one engine and stops it.
fn measure(engine: &dyn Engine, failovers: usize) -> Result<()> {
    let mut print = |name: &str, value: f64, unit: &str| println!("{}.{name}\t{value:.3}\t{unit}", engine.name());
    let result = cluster::run(engine, failovers, &mut print);
    engine.down();
    result
}
