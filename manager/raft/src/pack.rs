//! What an entry carries, as bytes and back.
//!
//! The proposals of a busy moment say the same again and again: the words of a status, the ids of services and nodes, the digits
//! of ids and of container ids, which are twice as long as what they stand for. So a batch is compressed where that makes it
//! shorter, once the cluster's feature level lets it. Invariant: what was packed comes back the same, and nothing grows when it is
//! unpacked beyond [`MOST`].

use skep_common::limits::MAX_TRANSACTION_BYTES;
use skep_proto::{Message as _, v1::RaftBatch};
use zstd::bulk::{Compressor, Decompressor};

use crate::types::Batch;

/// The feature level that packed batches need.
pub(crate) const LEVEL: u32 = 2;

/// zstd's fastest: a batch is small, and everybody waits for it.
const EFFORT: i32 = 1;

/// Longest batch that is packed: one transaction of the largest size, or several small ones, and what is around them.
const MOST: usize = 2 * MAX_TRANSACTION_BYTES;

/// Packs one batch after the other; the memory this takes is kept.
#[derive(Default)]
pub(crate) struct Packer(Option<Compressor<'static>>);

impl Packer {
    /// The batch as an entry carries it in a cluster of this feature level.
    pub(crate) fn pack(&mut self, batch: &RaftBatch, feature_level: u32) -> Batch {
        let plain = batch.encode_to_vec();
        let packed = if feature_level < LEVEL { None } else { self.shorter(&plain) };
        packed.map_or_else(|| Batch::new(plain.into()), |packed| Batch::packed(packed.into()))
    }

    fn shorter(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() > MOST {
            return None;
        }
        if self.0.is_none() {
            self.0 = Compressor::new(EFFORT).ok();
        }
        let mut packed = self.0.as_mut()?.compress(plain).ok().filter(|packed| packed.len() < plain.len())?;
        // Entries are kept for a while.
        packed.shrink_to_fit();
        Some(packed)
    }
}

/// Unpacks one batch after the other.
#[derive(Default)]
pub(crate) struct Unpacker(Decompressor<'static>);

impl Unpacker {
    /// What was packed.
    ///
    /// # Errors
    /// When it is no batch, in words.
    pub(crate) fn unpack(&mut self, batch: &Batch) -> Result<RaftBatch, String> {
        let decoded = match batch.is_packed {
            true => {
                let plain = self.0.decompress(&batch.bytes, MOST).map_err(|error| error.to_string())?;
                RaftBatch::decode(plain.as_slice())
            }
            false => RaftBatch::decode(batch.bytes.clone()),
        };
        decoded.map_err(|error| error.to_string())
    }
}

/// How long a batch is once it is unpacked, by what it says itself.
pub(crate) fn unpacked_len(batch: &Batch) -> usize {
    let told = if batch.is_packed { zstd::zstd_safe::get_frame_content_size(&batch.bytes) } else { Ok(None) };
    let told = told.ok().flatten().and_then(|length| usize::try_from(length).ok());
    told.map_or(batch.bytes.len(), |length| length.min(MOST))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skep_proto::v1::{RaftProposal, Transaction};

    use super::*;
    use crate::testing::create_node;

    fn batch(proposals: usize) -> RaftBatch {
        let proposal = |number| {
            let transaction = Transaction { by: "somebody".into(), ..create_node(&format!("node{number}")) };
            RaftProposal { transaction: Some(transaction), only_in_term: 7 }
        };
        RaftBatch { proposals: (0..proposals).map(proposal).collect() }
    }

    #[test]
    fn what_is_packed_is_shorter_and_comes_back_the_same() {
        let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
        for proposals in [0, 1, 2, 100, 3000] {
            let batch = batch(proposals);
            for level in [LEVEL - 1, LEVEL, LEVEL + 1] {
                let packed = packer.pack(&batch, level);
                assert_eq!(unpacker.unpack(&packed), Ok(batch.clone()), "{proposals} at {level}");
                assert!(!packed.is_packed || level >= LEVEL);
                assert!(packed.bytes.len() <= batch.encoded_len());
                assert_eq!(unpacked_len(&packed), batch.encoded_len());
                assert!(proposals < 100 || level < LEVEL || packed.bytes.len() * 4 < batch.encoded_len());
            }
        }
    }

    #[test]
    fn what_is_no_batch_is_an_error() {
        let packed = Packer::default().pack(&batch(100), LEVEL);
        assert!(packed.is_packed);
        let cut = Batch::packed(packed.bytes.slice(..packed.bytes.len() / 2));
        let huge = Batch::packed(zstd::bulk::compress(&vec![0; MOST + 1], EFFORT).unwrap().into());
        let junk = Bytes::from_static(b"\xff\xff\xff");
        let packed_junk = Batch::packed(zstd::bulk::compress(&junk, EFFORT).unwrap().into());
        for bad in [cut, huge, packed_junk, Batch::new(junk.clone()), Batch::packed(junk)] {
            assert!(Unpacker::default().unpack(&bad).is_err(), "{bad:?}");
        }
    }
}
