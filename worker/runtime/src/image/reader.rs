//! Bytes on their way from the network to the thread that unpacks them, and out of their compression.

use std::{
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use tokio::{
    io::AsyncReadExt as _,
    sync::mpsc::{self, error::TryRecvError},
};

use super::work::Work;
use crate::ArchiveReader;

const CHUNK: usize = 128 * 1024;
/// Sends all an archive has to its reader; ends early when the reader has lost interest. An archive that cannot be read
/// to its end shows the reader the same error. How long a client may take is for whoever has the connection to say.
pub(crate) async fn feed(mut archive: ArchiveReader<'_>, sender: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let message = match archive.read_buf(&mut chunk).await {
            Ok(0) => Ok(Bytes::new()),
            Ok(_) => Ok(chunk.freeze()),
            Err(error) => Err(error),
        };
        let last = message.as_ref().map_or(true, Bytes::is_empty);
        if sender.send(message).await.is_err() || last {
            return;
        }
    }
}

/// The other end of [`feed`], for a thread that may block; it has no turn while it does.
pub(crate) struct ChannelReader {
    work: Rc<Work>,
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
    ended: bool,
}

impl ChannelReader {
    pub(super) fn new(receiver: mpsc::Receiver<io::Result<Bytes>>, work: Rc<Work>) -> Self {
        Self { work, receiver, chunk: Bytes::new(), ended: false }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && !self.ended {
            // A sender that goes without the empty chunk that marks the end was cut off.
            let received = match self.receiver.try_recv() {
                Err(TryRecvError::Empty) => self.work.wait(|| self.receiver.blocking_recv()),
                received => received.ok(),
            };
            self.chunk = received.ok_or(io::ErrorKind::UnexpectedEof)??;
            self.ended = self.chunk.is_empty();
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.split_to(count).copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

/// What a reader holds, without its gzip or zstd compression if it has one.
pub(super) fn decompressed<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(CHUNK, source);
    let start = source.fill_buf()?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(source)?),
        _ => Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, sync::Arc};

    use tokio::sync::Semaphore;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn read_all(receiver: mpsc::Receiver<io::Result<Bytes>>) -> io::Result<Vec<u8>> {
        let work = Work::begin(Arc::new(Semaphore::new(1)), CancellationToken::new());
        let mut out = Vec::new();
        ChannelReader::new(receiver, Rc::new(work)).read_to_end(&mut out).map(|_| out)
    }

    fn read(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        decompressed(bytes).unwrap().read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn compression_is_seen_in_the_bytes() {
        let text = b"some text, some text, some text".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        assert_eq!(read(&gzip.finish().unwrap()), text);
        assert_eq!(read(&zstd::encode_all(text.as_slice(), 1).unwrap()), text);
        assert_eq!(read(&text), text);
        assert!(read(b"").is_empty());
    }

    #[tokio::test]
    async fn bytes_come_through_whole_and_a_cut_is_an_error() {
        let text = b"0123456789".repeat(100_000);
        let (sender, receiver) = mpsc::channel(2);
        let reading = tokio::task::spawn_blocking(move || read_all(receiver));
        feed(Box::pin(text.as_slice()), sender).await;
        assert_eq!(reading.await.unwrap().unwrap(), text);

        let (sender, receiver) = mpsc::channel(2);
        sender.send(Ok(Bytes::from_static(b"half"))).await.unwrap();
        drop(sender);
        let cut = tokio::task::spawn_blocking(move || read_all(receiver));
        assert_eq!(cut.await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
