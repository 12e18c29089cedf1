//! Reading one stored segment to its end, and proving it: the one place where a reader believes an archived record.
//!
//! A segment is proved when the object has the declared size and SHA-256, is one compressed frame, its header says what
//! the sidecar says, its records have consecutive LSNs and times that never go back, and their chain leads from the
//! sidecar's chain before to its chain after. Records are handed out, in runs, while that is being found out; nothing may be
//! done with them that cannot be taken back before [`read_segment`] has returned `Ok`.

use reddb_file::archive::segment::SEGMENT_HEADER_BYTES;
use reddb_file::archive::{
    Codec, RecordRun, SegmentDecoder, SegmentError, SegmentHeader, SegmentName, SegmentSidecar, Sha256Digest,
};
use reddb_file::{ClusterId, Lsn};

use crate::codec::decode_segment;
use crate::fetch::{FetchError, ObjectReader};

/// A segment that is not what its sidecar says.
#[derive(Debug, thiserror::Error)]
pub enum SegmentFault {
    /// The object is absent, damaged, or the store does not give it.
    #[error(transparent)]
    Object(#[from] FetchError),
    /// The object is what was stored, and that is no segment.
    #[error("{key}: {source}")]
    Decode {
        /// The object.
        key: String,
        /// What is wrong.
        source: SegmentError,
    },
    /// The segment and its sidecar do not say the same.
    #[error("{key}: its sidecar says {field} {declared}, the segment has {found}")]
    Sidecar {
        /// The object.
        key: String,
        /// What is compared.
        field: &'static str,
        /// What the sidecar says.
        declared: String,
        /// What the segment has.
        found: String,
    },
}

/// How large a run of records grows, a single larger record apart.
pub(crate) const RUN_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Who is handed a segment's records.
pub(crate) trait Visit {
    /// Why a run may be refused.
    type Refusal;

    /// The next LSN whose chain is of interest: a run ends there, if one does not end before.
    fn next_stop(&self) -> Lsn;

    /// The next records.
    fn visit(&mut self, run: RecordRun) -> Result<(), Self::Refusal>;
}

/// Why a segment was not read to its end.
#[derive(Debug)]
pub(crate) enum ReadSegmentError<E> {
    /// The segment is at fault.
    Fault(SegmentFault),
    /// The visitor refused a record.
    Refused(E),
}

impl<E> From<SegmentFault> for ReadSegmentError<E> {
    fn from(fault: SegmentFault) -> Self {
        Self::Fault(fault)
    }
}

/// Reads the segment that `sidecar` describes from its beginning to its end. Blocks.
pub(crate) fn read_segment<V: Visit>(
    key: &str,
    mut object: ObjectReader,
    sidecar: &SegmentSidecar,
    visitor: &mut V,
) -> Result<(), ReadSegmentError<V::Refusal>> {
    let read = read_records(key, &mut object, sidecar, visitor);
    if let Err(refused @ ReadSegmentError::Refused(_)) = read {
        return Err(refused);
    }
    // A wrong digest explains whatever else is wrong, so it is said first.
    object.finish(sidecar.stored_sha256).map_err(SegmentFault::from)?;
    read
}

/// What the sidecar of a segment that has none would say: everything is read, and nothing but the segment itself vouches
/// for it. `None` where the object is no whole segment, or not the one that its name says. Blocks.
pub(crate) fn derive_sidecar(
    mut object: ObjectReader,
    stored_bytes: u64,
    cluster: ClusterId,
    name: &SegmentName,
) -> Result<Option<SegmentSidecar>, FetchError> {
    let derived = scan_whole(&mut object, cluster, name);
    let stored_sha256 = object.digest()?;
    Ok(derived.map(|sidecar| SegmentSidecar { stored_bytes, stored_sha256, ..sidecar }))
}

fn scan_whole(object: &mut ObjectReader, cluster: ClusterId, name: &SegmentName) -> Option<SegmentSidecar> {
    let mut decoder = decode_segment(object).ok()?;
    let header = *decoder.header();
    let SegmentHeader { timeline, epoch, first_lsn, last_lsn, .. } = header;
    if header.cluster != cluster || *name != (SegmentName { timeline, first_lsn, last_lsn, epoch }) {
        return None;
    }
    let (mut first_time_ms, mut last_time_ms, mut record_count) = (None, 0, 0);
    while let Some(run) = decoder.next_run(RUN_BYTES_MAX, Lsn::MAX).ok()? {
        first_time_ms.get_or_insert(run.first_time_ms());
        last_time_ms = run.last_time_ms();
        record_count += run.record_count();
    }
    Some(SegmentSidecar {
        cluster,
        timeline,
        epoch,
        first_lsn,
        last_lsn,
        first_time_ms: first_time_ms?,
        last_time_ms,
        record_count,
        plain_bytes: plain_bytes(&header),
        stored_bytes: 0,
        stored_sha256: Sha256Digest::of(&[]),
        chain_before: header.chain_before,
        chain_after: header.chain_after,
        codec: Codec::Zstd,
    })
}

fn plain_bytes(header: &SegmentHeader) -> u64 {
    header.record_bytes.saturating_add(SEGMENT_HEADER_BYTES as u64)
}

fn read_records<V: Visit>(
    key: &str,
    object: &mut ObjectReader,
    sidecar: &SegmentSidecar,
    visitor: &mut V,
) -> Result<(), ReadSegmentError<V::Refusal>> {
    let decode = |source| SegmentFault::Decode { key: key.to_owned(), source };
    let mut decoder: SegmentDecoder<_> = decode_segment(object).map_err(decode)?;
    check_header(key, decoder.header(), sidecar)?;
    let mut first_time_ms = None;
    let mut last_time_ms = None;
    while let Some(run) = decoder.next_run(RUN_BYTES_MAX, visitor.next_stop()).map_err(decode)? {
        first_time_ms.get_or_insert(run.first_time_ms());
        last_time_ms = Some(run.last_time_ms());
        visitor.visit(run).map_err(ReadSegmentError::Refused)?;
    }
    check(key, "first_time_ms", Some(sidecar.first_time_ms), first_time_ms)?;
    check(key, "last_time_ms", Some(sidecar.last_time_ms), last_time_ms)?;
    Ok(())
}

fn check_header(key: &str, header: &SegmentHeader, sidecar: &SegmentSidecar) -> Result<(), SegmentFault> {
    check(key, "cluster", sidecar.cluster, header.cluster)?;
    check(key, "timeline", sidecar.timeline, header.timeline)?;
    check(key, "epoch", sidecar.epoch, header.epoch)?;
    check(key, "first_lsn", sidecar.first_lsn, header.first_lsn)?;
    check(key, "last_lsn", sidecar.last_lsn, header.last_lsn)?;
    check(key, "plain_bytes", sidecar.plain_bytes, plain_bytes(header))?;
    check(key, "chain_before", sidecar.chain_before, header.chain_before)?;
    check(key, "chain_after", sidecar.chain_after, header.chain_after)
}

fn check<T: PartialEq + std::fmt::Debug>(
    key: &str,
    field: &'static str,
    declared: T,
    found: T,
) -> Result<(), SegmentFault> {
    if declared == found {
        return Ok(());
    }
    let (declared, found) = (format!("{declared:?}"), format!("{found:?}"));
    Err(SegmentFault::Sidecar { key: key.to_owned(), field, declared, found })
}
