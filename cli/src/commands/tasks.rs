//! Tables of tasks: `service ps` and `node ps`.

use anyhow::Result;
use skep_dockerapi::{
    time::Time,
    types::{Task, TaskSpec},
};

use super::{Context, names::Names};
use crate::output::{
    Format, Table, natural,
    text::{capitalized, ellipsis, image_name, short_id},
    units::{ago, now},
};

/// Characters of an error shown.
const ERROR_WIDTH: usize = 30;

/// Before a task that another one of the same name came after.
const EARLIER: &str = " \\_ ";

/// What is shown of each, as `--format` names it and as the header does.
const COLUMNS: [(&str, &str); 8] = [
    ("ID", "ID"),
    ("Name", "NAME"),
    ("Image", "IMAGE"),
    ("Node", "NODE"),
    ("DesiredState", "DESIRED STATE"),
    ("CurrentState", "CURRENT STATE"),
    ("Error", "ERROR"),
    ("Ports", "PORTS"),
];

/// How tasks are shown.
#[derive(Debug, Clone)]
pub(super) struct Style {
    /// Ids only.
    pub(super) quiet: bool,
    /// Nothing shortened.
    pub(super) no_trunc: bool,
    /// No names.
    pub(super) no_resolve: bool,
    /// Otherwise than in the usual table.
    pub(super) format: Option<Format>,
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
        let name = names.task(&task).await?;
        let node = names.node(&task.node_id).await?;
        named.push(Named { task, name, node });
    }
    named.sort_by(|a, b| natural::compare(&a.name, &b.name).then(b.task.created_at.cmp(&a.task.created_at)));
    let shown = if style.quiet {
        named.iter().map(|named| format!("{}\n", named.task.id)).collect()
    } else {
        let rows = rows(&named, style.no_trunc, style.format.is_none(), now());
        match &style.format {
            Some(format) => format.rows(COLUMNS, rows)?,
            None => table(rows).to_string(),
        }
    };
    Ok(context.printer.text(shown)?)
}

fn table(rows: impl Iterator<Item = [String; 8]>) -> Table {
    let mut table = Table::new(&COLUMNS.map(|(_, title)| title));
    rows.for_each(|row| table.row(row));
    table
}

/// With `tree` a task that another one of the same name came after is drawn below it.
fn rows(tasks: &[Named], whole: bool, tree: bool, now: Time) -> impl Iterator<Item = [String; 8]> {
    let mut previous = "";
    tasks.iter().map(move |Named { task, name, node }| {
        let image = image(&task.spec);
        let error = match task.status.err.as_str() {
            "" => String::new(),
            error if whole => format!("\"{error}\""),
            error => format!("\"{}\"", ellipsis(error, ERROR_WIDTH)),
        };
        let age = ago(task.status.timestamp, now).to_lowercase();
        let earlier = tree && name == previous;
        previous = name;
        [
            if whole { task.id.clone() } else { short_id(&task.id).to_owned() },
            if earlier { format!("{EARLIER}{name}") } else { name.clone() },
            if whole { image.to_owned() } else { image_name(image) },
            node.clone(),
            capitalized(&task.desired_state),
            format!("{} {age}", capitalized(&task.status.state)),
            error,
            String::new(),
        ]
    })
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
        assert_eq!(table(rows(&tasks, false, true, Time(100_000_000_000))).to_string(), expected);
        let whole = table(rows(&tasks[1..2], true, true, Time(0))).to_string();
        assert!(whole.contains("\"starting container failed: failed to create\""), "{whole}");
        let names = |tree| rows(&tasks, false, tree, Time(0)).map(|[_, name, ..]| name).collect::<Vec<_>>();
        assert_eq!((names(true)[1].as_str(), names(false)[1].as_str()), (" \\_ web.1", "web.1"));
        assert!(whole.contains("buatzk2m99nhxxxxxxxxxxxxx   web.1 "), "{whole}");
    }
}
