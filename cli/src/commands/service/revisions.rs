//! `skep service revisions`.

use anyhow::Result;
use skep_dockerapi::{
    time::Time,
    types::{Revision, Revisions},
};

use super::super::Context;
use crate::output::{
    Table,
    units::{ago, now},
};

/// Characters of a digest that are shown, as of an id.
const SHORT_DIGEST: usize = 12;

/// In nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// Shows the revisions of a service that are kept, the newest first.
pub(super) async fn list(context: &mut Context, key: &str) -> Result<()> {
    let revisions = context.client.service_revisions(key).await?;
    Ok(context.printer.text(table(&revisions, now()).to_string())?)
}

fn table(listed: &Revisions, now: Time) -> Table {
    let mut table = Table::new(&["REVISION", "CREATED", "AGE", "IMAGE", "DIGEST", "RUNNING", "STATUS"]);
    for revision in &listed.revisions {
        let to_the_second = Time(revision.created_at.0 / SECOND * SECOND);
        let (created, age) = match to_the_second == Time::default() {
            true => (String::new(), String::new()),
            false => (to_the_second.to_string(), ago(revision.created_at, now).to_lowercase()),
        };
        // An image that was built anew under its tag is another only by its digest.
        let (image, digest) = revision.image.split_once('@').unwrap_or((&revision.image, ""));
        let digest = digest.split_once(':').map_or(digest, |(_, hex)| hex);
        table.row([
            revision.number.to_string(),
            created,
            age,
            image.to_owned(),
            digest.chars().take(SHORT_DIGEST).collect(),
            revision.running_tasks.to_string(),
            status(listed, revision).to_owned(),
        ]);
    }
    table
}

fn status(listed: &Revisions, revision: &Revision) -> &'static str {
    if revision.number == listed.current {
        "current"
    } else if listed.previous == Some(revision.number) {
        "previous"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_and_what_it_would_go_back_to_are_marked() {
        let second = |seconds: i64| Time(seconds * 1_000_000_000);
        let revision = |number, created_at, image: &str, running_tasks| Revision {
            number,
            created_at,
            image: image.into(),
            running_tasks,
        };
        let revisions = vec![
            revision(12, Time(second(90).0 + 7), "h:5/demo:1@sha256:0123456789abcdef", 2),
            revision(11, second(40), "demo@sha256:ff", 1),
            revision(9, Time::default(), "demo:1", 0),
        ];
        let listed = Revisions { current: 12, previous: Some(11), revisions };
        let expected = "\
REVISION   CREATED                AGE                  IMAGE        DIGEST         RUNNING   STATUS
12         1970-01-01T00:01:30Z   9 seconds ago        h:5/demo:1   0123456789ab   2         current
11         1970-01-01T00:00:40Z   about a minute ago   demo         ff             1         previous
9                                                      demo:1                      0         
";
        assert_eq!(table(&listed, second(100)).to_string(), expected);
        // After it was scaled, what it was before is the same revision.
        let scaled = Revisions { previous: Some(12), ..listed };
        assert_eq!(status(&scaled, &scaled.revisions[0]), "current");
    }
}
