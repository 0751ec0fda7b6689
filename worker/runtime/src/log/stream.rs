//! A log as an asynchronous stream, followed while its container lives.

use std::{io, path::PathBuf, time::Duration};

use skep_proto::v1::{LogOptions, LogRecord};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;

use super::reader::{Piece, Reader};
use crate::{LogStream, RuntimeError};

/// Records on their way to a slow reader.
const QUEUE: usize = 256;
/// How often a followed log is looked at: one `fstat` each time.
const POLL: Duration = Duration::from_millis(100);

/// Reads a log; with `follow` until `ended` turns true or its sender goes.
pub(crate) fn read(path: PathBuf, options: LogOptions, ended: watch::Receiver<bool>) -> LogStream {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if let Err(error) = pump(path, options, ended, &sender).await {
            let error = RuntimeError::Storage(format!("cannot read the container's log: {error}"));
            // Nobody may be listening any more.
            let _ = sender.send(Err(error)).await;
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

async fn pump(
    path: PathBuf,
    options: LogOptions,
    mut ended: watch::Receiver<bool>,
    sender: &mpsc::Sender<Result<LogRecord, RuntimeError>>,
) -> io::Result<()> {
    let mut reader = spawn_blocking(move || Reader::open(path, options)).await??;
    loop {
        // Asked before the read: what was written before the end is then read after it.
        let last = !options.follow || *ended.borrow() || ended.has_changed().is_err();
        let piece;
        (reader, piece) = spawn_blocking(move || {
            let piece = reader.next();
            (reader, piece)
        })
        .await?;
        match piece? {
            Piece::Records(records) => {
                for record in records {
                    if sender.send(Ok(record)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Piece::Past => return Ok(()),
            Piece::End if last => return Ok(()),
            Piece::End => tokio::select! {
                () = sleep(POLL) => {}
                _ = ended.wait_for(|ended| *ended) => {}
                () = sender.closed() => return Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures::StreamExt as _;

    use super::*;

    const LINE: &str = "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:01Z\"}\n";

    #[tokio::test]
    async fn a_followed_log_ends_with_its_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, LINE).unwrap();
        let (container, ended) = watch::channel(false);
        let mut stream = read(path.clone(), LogOptions { follow: true, ..Default::default() }, ended);
        assert!(stream.next().await.unwrap().is_ok());
        fs::write(&path, LINE.repeat(3)).unwrap();
        container.send_replace(true);
        assert_eq!(stream.count().await, 2);
    }

    #[tokio::test]
    async fn without_follow_it_ends_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, LINE.repeat(1000)).unwrap();
        let (_container, ended) = watch::channel(false);
        assert_eq!(read(path, LogOptions::default(), ended).count().await, 1000);
    }
}
