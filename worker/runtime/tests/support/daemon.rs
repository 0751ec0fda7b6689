//! Not a test: the program the tests re-execute. `shim …` is a shim; `shim-1 …` one as the first version was; `run ROOT IMAGE ID COMMAND…` is a daemon that
//! starts one container, prints its pid and then sleeps until it is killed.

#![allow(unused_crate_dependencies, reason = "shares the package's dependencies")]

#[path = "shim_1.rs"]
mod shim_1;

use std::{path::Path, process::exit};

use skep_proto::v1::{ContainerSpec, NetworkMode};
use skep_runtime::{ContainerSpecification, Containers, Runtime as _, RuntimeConfig};

fn main() {
    let mut args = std::env::args_os().skip(1);
    match args.next().and_then(|mode| mode.into_string().ok()).as_deref() {
        Some("shim") => skep_shim::main(args),
        Some("shim-1") => {
            let args: Vec<_> = args.map(std::path::PathBuf::from).collect();
            shim_1::run(&args[1], &args[3])
        }
        Some("run") => {
            let args: Vec<String> = args.filter_map(|arg| arg.into_string().ok()).collect();
            if let Err(error) = run(&args) {
                eprintln!("{error}");
                exit(1);
            }
        }
        _ => exit(2),
    }
}

#[tokio::main]
async fn run(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [root, image, id, command @ ..] = args else { return Err("ROOT IMAGE ID COMMAND…".into()) };
    let root = Path::new(root);
    let mut config = RuntimeConfig::new(root.join("data"), root.join("exec"));
    config.cgroup_parent = std::env::var("CGROUP_PARENT")?;
    let containers = Containers::open(config).await?;
    let container = ContainerSpecification {
        id: id.clone(),
        name: id.clone(),
        labels: Default::default(),
        container: ContainerSpec { image: image.clone(), command: command.to_vec(), ..Default::default() },
        resources: Default::default(),
        network: NetworkMode::Isolated,
        log_driver: Default::default(),
    };
    containers.prepare(&container).await?;
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{}", containers.start(id).await?)?;
    std::future::pending().await
}
