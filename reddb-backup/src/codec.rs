//! Compression of archived segments: the one place that knows zstd.
//!
//! A stored segment is one zstd frame of its plain form (`reddb_file::archive::segment`), with zstd's own checksum.
//! Reading streams: memory is bounded by the frame's window, which is limited, and by one record.

use std::io::{self, BufRead, Write as _};

use bytes::Bytes;
use reddb_file::archive::segment::SEGMENT_HEADER_BYTES;
use reddb_file::archive::{Codec, RecordRun, SegmentDecoder, SegmentError, SegmentSidecar, Sha256Digest};
use reddb_file::{ClusterId, Epoch, TimelineId};

/// The largest window that a frame may ask for: 2^27 bytes, what zstd itself allows by default.
const WINDOW_LOG_MAX: u32 = 27;

/// zstd's compression level, 1 to 19. Default 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CompressionLevel(i32);

impl Default for CompressionLevel {
    fn default() -> Self {
        Self(3)
    }
}

impl CompressionLevel {
    /// The level, where it is one of 1 to 19.
    #[must_use]
    pub fn new(level: i32) -> Option<Self> {
        (1..=19).contains(&level).then_some(Self(level))
    }
}

/// A segment that is ready to be written: the object and the sidecar that describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSegment {
    /// The object's bytes.
    pub object: Bytes,
    /// What they are.
    pub sidecar: SegmentSidecar,
}

/// Makes the segment of a run. Deterministic: the same run and level give the same bytes.
///
/// # Errors
/// What the compressor reports: want of memory.
pub fn encode_segment(
    run: &RecordRun,
    cluster: ClusterId,
    timeline: TimelineId,
    epoch: Epoch,
    level: CompressionLevel,
) -> io::Result<StoredSegment> {
    let header = run.header(cluster, timeline, epoch);
    let plain_bytes = SEGMENT_HEADER_BYTES as u64 + header.record_bytes;
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level.0)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(plain_bytes))?;
    encoder.write_all(&header.encode())?;
    encoder.write_all(run.bytes())?;
    let object = Bytes::from(encoder.finish()?);
    let sidecar = sidecar_of(run, cluster, timeline, epoch, &object);
    Ok(StoredSegment { object, sidecar })
}

/// The sidecar of the segment that holds `run` and is stored as `object`.
pub(crate) fn sidecar_of(
    run: &RecordRun,
    cluster: ClusterId,
    timeline: TimelineId,
    epoch: Epoch,
    object: &Bytes,
) -> SegmentSidecar {
    SegmentSidecar {
        cluster,
        timeline,
        epoch,
        first_lsn: run.first_lsn(),
        last_lsn: run.last_lsn(),
        first_time_ms: run.first_time_ms(),
        last_time_ms: run.last_time_ms(),
        record_count: run.record_count(),
        plain_bytes: SEGMENT_HEADER_BYTES as u64 + run.bytes().len() as u64,
        stored_bytes: object.len() as u64,
        stored_sha256: Sha256Digest::of(object),
        chain_before: run.chain_before(),
        chain_after: run.chain_after(),
        codec: Codec::Zstd,
    }
}

/// What a [`SegmentDecoder`] reads a stored segment through.
pub(crate) type Decompressor<R> = zstd::stream::read::Decoder<'static, R>;

/// Begins to read a stored segment. The header is checked; the caller compares it with the sidecar and with what it
/// expects, and reads all records before it trusts any.
///
/// # Errors
/// Any [`SegmentError`]; bytes that are no zstd frame are [`SegmentError::Read`].
pub fn decode_segment<R: BufRead>(stored: R) -> Result<SegmentDecoder<Decompressor<R>>, SegmentError> {
    let open = || {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)?;
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        Ok(decoder)
    };
    SegmentDecoder::new(open().map_err(|source| SegmentError::Read { offset: 0, source })?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reddb_file::{Chain, Lsn, Record, RecordKind};

    use super::*;

    fn stored(payloads: &[Vec<u8>]) -> (StoredSegment, Vec<Record>) {
        let cluster = ClusterId::from_bytes([5; 16]);
        let records: Vec<_> = payloads
            .iter()
            .zip(1..)
            .map(|(payload, lsn)| Record {
                lsn: Lsn::new(lsn),
                time_ms: lsn,
                kind: RecordKind::Changes,
                payload: Bytes::from(payload.clone()),
            })
            .collect();
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode_into(&mut bytes).unwrap());
        let run = RecordRun::scan(Lsn::ZERO, Chain::genesis(cluster), bytes.into()).unwrap();
        let level = CompressionLevel::default();
        (encode_segment(&run, cluster, TimelineId::FIRST, Epoch::new(1), level).unwrap(), records)
    }

    fn read(bytes: &[u8]) -> Result<Vec<Record>, SegmentError> {
        let mut decoder = decode_segment(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = decoder.next_record()? {
            records.push(record);
        }
        Ok(records)
    }

    proptest! {
        #[test]
        fn segments_are_read_back_and_their_sidecar_tells_of_any_change(
            payloads in prop::collection::vec(prop::collection::vec(0..4_u8, 0..300), 1..20),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let (segment, records) = stored(&payloads);
            prop_assert_eq!(read(&segment.object).unwrap(), records.clone());
            let mut bad = segment.object.to_vec();
            let at = at.index(bad.len());
            bad[at] ^= 1 << bit;
            prop_assert_ne!(Sha256Digest::of(&bad), segment.sidecar.stored_sha256);
            // Without its sidecar too: no changed bit gives other records.
            if let Ok(read) = read(&bad) {
                prop_assert_eq!(read, records);
            }
            let cut = segment.object.slice(..at);
            prop_assert!(read(&cut).is_err());
        }

        #[test]
        fn any_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes).is_err());
        }
    }

    #[test]
    fn compressing_is_deterministic() {
        let payloads = vec![vec![7; 1000]; 50];
        assert_eq!(stored(&payloads).0, stored(&payloads).0);
    }

    #[test]
    fn a_small_bomb_stays_small_in_memory() {
        // A frame that decompresses to 256 MiB of zeros is read as a header that is wrong, and no further.
        let bomb = zstd::stream::encode_all(io::Read::take(io::repeat(0), 256 << 20), 1).unwrap();
        assert!(matches!(read(&bomb), Err(SegmentError::Magic { .. })));
    }
}
