//! `skep ps`.

use anyhow::Result;
use skep_dockerapi::{time::Time, types::ContainerSummary};

use super::{Context, filters};
use crate::{
    args::PsArgs,
    output::{
        Table,
        text::{ellipsis, image_name, short_id},
        units::{ago, now},
    },
};

/// Characters of a command line shown.
const COMMAND_WIDTH: usize = 20;

pub(super) async fn run(context: &mut Context, args: PsArgs) -> Result<()> {
    let containers = context.client.containers(args.all, &filters(&args.filters)).await?;
    let shown = if args.quiet {
        containers.iter().map(|container| format!("{}\n", id(container, args.no_trunc))).collect()
    } else {
        table(&containers, args.no_trunc, now()).to_string()
    };
    Ok(context.printer.text(shown)?)
}

fn id(container: &ContainerSummary, whole: bool) -> &str {
    if whole { &container.id } else { short_id(&container.id) }
}

fn table(containers: &[ContainerSummary], whole: bool, now: Time) -> Table {
    let mut table = Table::new(&["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    for container in containers {
        let command = if whole { container.command.clone() } else { ellipsis(&container.command, COMMAND_WIDTH) };
        let names: Vec<&str> = container.names.iter().map(|name| name.trim_start_matches('/')).collect();
        table.row([
            id(container, whole).to_owned(),
            if whole { container.image.clone() } else { image_name(&container.image) },
            format!("{command:?}"),
            ago(Time(container.created.saturating_mul(1_000_000_000)), now),
            container.status.clone(),
            String::new(),
            names.join(","),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{client::testing::FakeDaemon, commands::testing::prints};

    fn container() -> serde_json::Value {
        json!({
            "Id": "c800000000000000000000000000000000", "Names": ["/web.3.id11"], "Image": "docker.io/library/busybox:1.35",
            "Command": "sh -c while true; do sleep 1; done", "Created": 1000, "Status": "Up 5 minutes",
        })
    }

    #[test]
    fn rows_are_dockers() {
        let containers: Vec<ContainerSummary> = vec![serde_json::from_value(container()).unwrap()];
        let expected = "\
CONTAINER ID   IMAGE          COMMAND                  CREATED         STATUS         PORTS     NAMES
c80000000000   busybox:1.35   \"sh -c while true; d…\"   5 minutes ago   Up 5 minutes             web.3.id11
";
        assert_eq!(table(&containers, false, Time(1_300_000_000_000)).to_string(), expected);
    }

    #[tokio::test]
    async fn quiet_is_ids_only() {
        let daemon = FakeDaemon::new()
            .on("GET /v1.46/containers/json", json!([container()]))
            .on("GET /v1.46/containers/json?all=true", json!([container(), container()]));
        assert_eq!(prints(&daemon, &["ps", "-q"]).await, "c80000000000\n");
        let whole = "c800000000000000000000000000000000\n";
        assert_eq!(prints(&daemon, &["ps", "-aq", "--no-trunc"]).await, whole.repeat(2));
    }
}
