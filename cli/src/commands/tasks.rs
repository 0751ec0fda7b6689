//! Tables of tasks: `service ps` and `node ps`.

use anyhow::Result;
use skep_dockerapi::{
    time::Time,
    types::{Task, TaskSpec},
};

use super::{Context, names::Names};
use crate::output::{
    Table, natural,
    text::{capitalized, ellipsis, image_name, short_id},
    units::{ago, now},
};

/// Characters of an error shown.
const ERROR_WIDTH: usize = 30;

/// Before a task that another one of the same name came after.
const EARLIER: &str = " \\_ ";

/// How tasks are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Ids only.
    pub(super) quiet: bool,
    /// Nothing shortened.
    pub(super) no_trunc: bool,
    /// No names.
    pub(super) no_resolve: bool,
}

/// A task and the names of what it belongs to.
struct Named {
    task: Task,
    name: String,
    node: String,
}

pub(super) async fn print(context: &mut Context, tasks: Vec<Task>, style: Style) -> Result<()> {
    let mut names = Names::new(&context.client, style.no_resolve);
    let mut named = Vec::with_capacity(tasks.len());
    for task in tasks {
        let service = names.service(&task.service_id).await?;
        let name = match task.slot {
            0 => format!("{service}.{}", task.node_id),
            slot => format!("{service}.{slot}"),
        };
        let node = names.node(&task.node_id).await?;
        named.push(Named { task, name, node });
    }
    named.sort_by(|a, b| natural::compare(&a.name, &b.name).then(b.task.created_at.cmp(&a.task.created_at)));
    let shown = if style.quiet {
        named.iter().map(|named| format!("{}\n", named.task.id)).collect()
    } else {
        table(&named, style.no_trunc, now()).to_string()
    };
    Ok(context.printer.text(shown)?)
}

fn table(tasks: &[Named], whole: bool, now: Time) -> Table {
    let header = ["ID", "NAME", "IMAGE", "NODE", "DESIRED STATE", "CURRENT STATE", "ERROR", "PORTS"];
    let mut table = Table::new(&header);
    let mut previous = "";
    for Named { task, name, node } in tasks {
        let image = image(&task.spec);
        let error = match task.status.err.as_str() {
            "" => String::new(),
            error if whole => format!("\"{error}\""),
            error => format!("\"{}\"", ellipsis(error, ERROR_WIDTH)),
        };
        let age = ago(task.status.timestamp, now).to_lowercase();
        table.row([
            if whole { task.id.clone() } else { short_id(&task.id).to_owned() },
            if name == previous { format!("{EARLIER}{name}") } else { name.clone() },
            if whole { image.to_owned() } else { image_name(image) },
            node.clone(),
            capitalized(&task.desired_state),
            format!("{} {age}", capitalized(&task.status.state)),
            error,
            String::new(),
        ]);
        previous = name;
    }
    table
}

fn image(spec: &TaskSpec) -> &str {
    spec.container_spec.as_ref().map_or("", |container| &container.image)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(name: &str, id: &str, node: &str, desired: &str, state: &str, seconds: i64, error: &str) -> Named {
        let task = json!({
            "ID": id, "Spec": {"ContainerSpec": {"Image": "skep/demo:1"}}, "DesiredState": desired,
            "Status": {"State": state, "Err": error},
        });
        let mut task: Task = serde_json::from_value(task).unwrap();
        task.status.timestamp = Time(seconds * 1_000_000_000);
        Named { task, name: name.into(), node: node.into() }
    }

    #[test]
    fn history_is_drawn_below_the_newest() {
        let tasks = [
            named("web.1", "7d7xjd9dtya2xxxxxxxxxxxxx", "dk1", "running", "preparing", 95, ""),
            named(
                "web.1",
                "buatzk2m99nhxxxxxxxxxxxxx",
                "dk1",
                "shutdown",
                "failed",
                95,
                "starting container failed: failed to create",
            ),
            named("web.2", "q55gfgtylnlyxxxxxxxxxxxxx", "", "running", "pending", 40, "no suitable node"),
        ];
        // The layout of Docker 28.2.
        let expected = "\
ID             NAME        IMAGE         NODE      DESIRED STATE   CURRENT STATE                ERROR                              PORTS
7d7xjd9dtya2   web.1       skep/demo:1   dk1       Running         Preparing 5 seconds ago                                         
buatzk2m99nh    \\_ web.1   skep/demo:1   dk1       Shutdown        Failed 5 seconds ago         \"starting container failed: fa…\"   
q55gfgtylnly   web.2       skep/demo:1             Running         Pending about a minute ago   \"no suitable node\"                 
";
        assert_eq!(table(&tasks, false, Time(100_000_000_000)).to_string(), expected);
        let whole = table(&tasks[1..2], true, Time(0)).to_string();
        assert!(whole.contains("\"starting container failed: failed to create\""), "{whole}");
        assert!(whole.contains("buatzk2m99nhxxxxxxxxxxxxx   web.1 "), "{whole}");
    }
}
