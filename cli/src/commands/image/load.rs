//! `skep image load`: sends an archive and shows what the daemon makes of it.

use std::{io::IsTerminal as _, os::fd::AsFd as _};

use anyhow::{Context as _, Result, bail};
use skep_dockerapi::types::Progress as Message;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use super::super::Context;
use crate::{
    args::ImageLoadArgs,
    output::{PrintError, Printer, Progress, progress::Share, units::decimal_size},
};

/// Bytes read from the archive at a time.
const CHUNK: usize = 256 << 10;

pub(super) async fn run(context: &mut Context, args: ImageLoadArgs) -> Result<()> {
    let archive = match &args.input {
        Some(path) => File::open(path).await.with_context(|| format!("open {}", path.display()))?,
        None if std::io::stdin().is_terminal() => bail!("requested load from stdin, but stdin is empty"),
        None => File::from_std(std::io::stdin().as_fd().try_clone_to_owned()?.into()),
    };
    let archive = ReaderStream::with_capacity(archive, CHUNK);
    let mut messages = context.client.image_load(archive, args.quiet).await?;
    let mut progress = Progress::default();
    while let Some(message) = messages.value::<Message>().await? {
        if let Some(error) = failure(&message) {
            bail!(error);
        }
        show(&mut context.printer, &mut progress, &message)?;
    }
    Ok(())
}

fn failure(message: &Message) -> Option<String> {
    match &message.error_detail {
        Some(detail) if !detail.message.is_empty() => Some(detail.message.clone()),
        _ if !message.error.is_empty() => Some(message.error.clone()),
        _ => None,
    }
}

fn show(printer: &mut Printer, progress: &mut Progress, message: &Message) -> Result<(), PrintError> {
    match &message.detail {
        _ if !message.stream.is_empty() => printer.text(&message.stream),
        _ if message.id.is_empty() => progress.remark(printer, &message.status),
        Some(detail) if detail.total > 0 => {
            let sizes = format!("{} {}/{}", message.status, decimal_size(detail.current), decimal_size(detail.total));
            progress.step(printer, &message.id, &sizes, Share { current: detail.current, total: detail.total })
        }
        _ => progress.say(printer, &message.id, &message.status),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        client::testing::FakeDaemon,
        commands::testing::{prints, run},
    };

    #[tokio::test]
    async fn the_archive_is_sent_and_the_image_named() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar");
        std::fs::write(&archive, "an archive").unwrap();
        let request = "POST /v1.46/images/load?quiet=true";
        let daemon = FakeDaemon::new().on_bytes(request, r#"{"stream":"Loaded image: skep/demo:1\n"}"#);
        let line = ["image", "load", "--quiet", "--input", archive.to_str().unwrap()];
        assert_eq!(prints(&daemon, &line).await, "Loaded image: skep/demo:1\n");
        assert_eq!(daemon.sent(request), "an archive");
    }

    #[tokio::test]
    async fn progress_is_for_terminals_and_an_error_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar");
        std::fs::write(&archive, "x").unwrap();
        let messages = concat!(
            r#"{"status":"Loading layer","progressDetail":{"current":10,"total":20},"id":"946b"}"#,
            "\n",
            r#"{"errorDetail":{"message":"a layer has the wrong digest"},"error":"a layer has the wrong digest"}"#
        );
        let daemon = FakeDaemon::new().on_bytes("POST /v1.46/images/load", messages);
        let line = ["image", "load", "-i", archive.to_str().unwrap()];
        let (captured, result) = run(&daemon, &line).await;
        assert_eq!(captured.out(), "");
        assert_eq!(result, Err("a layer has the wrong digest".into()));
        let (captured, _) = crate::commands::testing::run_on(&daemon, &line, Some(80)).await;
        assert!(captured.out().contains("946b: Loading layer 10B/20B"), "{:?}", captured.out());
    }

    #[tokio::test]
    async fn an_archive_that_is_not_there_is_named() {
        let (_, result) = run(&FakeDaemon::new(), &["image", "load", "-i", "/nonexistent/a.tar"]).await;
        assert_eq!(result, Err("open /nonexistent/a.tar: No such file or directory (os error 2)".into()));
    }
}
