//! `skep image ls`.

use anyhow::Result;
use skep_dockerapi::{time::Time, types::ImageSummary};

use super::super::{Context, filters};
use crate::{
    args::ImageListArgs,
    output::{
        Table,
        text::short_id,
        units::{ago, decimal_size, now},
    },
};

/// For a part of a name an image does not have.
const NONE: &str = "<none>";

pub(super) async fn run(context: &mut Context, args: ImageListArgs) -> Result<()> {
    let mut filters = filters(&args.filters);
    if let Some(reference) = &args.reference {
        filters.add("reference", reference.as_str());
    }
    let images = context.client.images(args.all, &filters).await?;
    let shown = if args.quiet {
        images.iter().map(|image| format!("{}\n", id(image, args.no_trunc))).collect()
    } else {
        table(&images, args.digests, args.no_trunc, now()).to_string()
    };
    Ok(context.printer.text(shown)?)
}

fn id(image: &ImageSummary, whole: bool) -> &str {
    if whole { &image.id } else { short_id(&image.id) }
}

fn table(images: &[ImageSummary], digests: bool, whole: bool, now: Time) -> Table {
    let mut table = match digests {
        true => Table::new(&["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"]),
        false => Table::new(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]),
    };
    for image in images {
        let created = ago(Time(image.created.saturating_mul(1_000_000_000)), now);
        for (repository, tag) in names(image) {
            let (id, size) = (id(image, whole).to_owned(), decimal_size(image.size));
            if digests {
                let digest = digest(image, &repository);
                table.row([repository, tag, digest, id, created.clone(), size]);
            } else {
                table.row([repository, tag, id, created.clone(), size]);
            }
        }
    }
    table
}

/// Repository and tag of each name; one that has none is shown all the same.
fn names(image: &ImageSummary) -> Vec<(String, String)> {
    if image.repo_tags.is_empty() {
        let repository =
            image.repo_digests.first().and_then(|name| name.split_once('@')).map_or(NONE, |(name, _)| name);
        return vec![(repository.to_owned(), NONE.to_owned())];
    }
    let split = |name: &String| {
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, NONE));
        (repository.to_owned(), tag.to_owned())
    };
    image.repo_tags.iter().map(split).collect()
}

fn digest(image: &ImageSummary, repository: &str) -> String {
    let digests = image.repo_digests.iter().filter_map(|name| name.split_once('@'));
    digests.into_iter().find(|(name, _)| *name == repository).map_or(NONE, |(_, digest)| digest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_dockers() {
        let image = |tags: &[&str]| ImageSummary {
            id: "sha256:946b0c47993731270386e9d11d1b20df".into(),
            created: 0,
            repo_tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            size: 1_984_132,
            ..ImageSummary::default()
        };
        let now = Time(3 * 3600 * 1_000_000_000);
        let expected = "\
REPOSITORY      TAG       IMAGE ID       CREATED       SIZE
skep/demo       1         946b0c479937   3 hours ago   1.98MB
host:5000/app   x         946b0c479937   3 hours ago   1.98MB
<none>          <none>    946b0c479937   3 hours ago   1.98MB
";
        let images = [image(&["skep/demo:1", "host:5000/app:x"]), image(&[])];
        assert_eq!(table(&images, false, false, now).to_string(), expected);
        let pinned = ImageSummary { repo_digests: vec!["skep/demo@sha256:1".into()], ..image(&["skep/demo:1"]) };
        let expected = "\
REPOSITORY   TAG       DIGEST     IMAGE ID                                  CREATED       SIZE
skep/demo    1         sha256:1   sha256:946b0c47993731270386e9d11d1b20df   3 hours ago   1.98MB
";
        assert_eq!(table(&[pinned], true, true, now).to_string(), expected);
    }
}
