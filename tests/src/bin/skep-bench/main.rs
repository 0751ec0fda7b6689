//! `skep-bench`: figures of a real cluster, one `name<TAB>value<TAB>unit` a line, for skep and for a real Docker Swarm
//! in the same run. Both are asked over the Docker Engine API by the same code; only how nodes are started and killed differs.

mod cluster;
mod creates;
mod engine;
mod memory;
mod stats;
mod writers;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, bail};

use crate::engine::{Docker, Engine, Skep};

const USAGE: &str = "usage: skep-bench cluster|creates [skep] [docker] [--rounds N] [--scripts DIRECTORY]";

/// Which figures.
#[derive(Clone, Copy)]
enum What {
    Cluster,
    Creates,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (mut engines, mut rounds, mut scripts) = (Vec::new(), 20, PathBuf::from("scripts"));
    let what = match args.next().as_deref() {
        Some("cluster") => What::Cluster,
        Some("creates") => What::Creates,
        _ => bail!(USAGE),
    };
    while let Some(word) = args.next() {
        match word.as_str() {
            "--rounds" => rounds = args.next().unwrap_or_default().parse()?,
            "--scripts" => scripts = args.next().unwrap_or_default().into(),
            "skep" | "docker" => engines.push(word),
            _ => bail!(USAGE),
        }
    }
    if engines.is_empty() {
        engines.push("skep".to_owned());
    }
    for engine in engines {
        if engine == "skep" {
            measure(&Skep::up(&scripts)?, what, rounds)?;
        } else {
            // The original takes a quarter of a minute for each: three say enough.
            measure(&Docker::up(&scripts)?, what, rounds.min(3))?;
        }
    }
    Ok(())
}

/// Prints every figure of one engine and stops it.
fn measure(engine: &dyn Engine, what: What, failovers: usize) -> Result<()> {
    let mut print = |name: &str, value: f64, unit: &str| {
        // A reader who is gone wants no more figures; the run still ends in good order.
        let _ = writeln!(io::stdout(), "{}.{name}\t{value:.3}\t{unit}", engine.name());
    };
    let result = match what {
        What::Cluster => cluster::run(engine, failovers, &mut print),
        What::Creates => creates::run(engine, &mut print),
    };
    engine.down();
    result
}
