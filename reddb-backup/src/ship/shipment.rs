//! One shipment: a run of records becomes a segment and a sidecar in the archive.

use std::sync::Arc;

use reddb_file::archive::{ArchiveKey, MissingDigest, RecordRun, SegmentSidecar, sealed};
use reddb_file::limits::ARCHIVE_SEGMENT_STORED_BYTES_MAX;
use reddb_file::mark::TimedMark;
use reddb_file::{ClusterId, Epoch, Lsn, TimelineId};
use tokio::task::JoinHandle;

use super::ShipError;
use crate::codec::{CompressionLevel, StoredSegment, decode_segment, encode_segment, sidecar_of};
use crate::source::LogSource;
use crate::store::{Store, StoreError};

/// What is shipped under which name, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shipping {
    pub(crate) cluster: ClusterId,
    pub(crate) timeline: TimelineId,
    pub(crate) epoch: Epoch,
    pub(crate) plain_bytes_max: u64,
    pub(crate) level: CompressionLevel,
}

/// A run that is ready to be written.
#[derive(Debug)]
pub(crate) struct Prepared {
    run: RecordRun,
    stored: StoredSegment,
}

impl Prepared {
    /// The last record of the run.
    pub(crate) fn mark(&self) -> TimedMark {
        TimedMark { lsn: self.run.last_lsn(), chain: self.run.chain_after(), time_ms: self.run.last_time_ms() }
    }

    pub(crate) fn record_bytes(&self) -> u64 {
        self.run.bytes().len() as u64
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored.sidecar.stored_bytes
    }
}

impl Shipping {
    /// Reads, checks and compresses the run after `after`, none of it beyond `to`, on a thread that may block.
    pub(crate) fn prepare(
        self,
        log: &Arc<dyn LogSource>,
        after: TimedMark,
        to: TimedMark,
    ) -> JoinHandle<Result<Prepared, ShipError>> {
        let log = Arc::clone(log);
        tokio::task::spawn_blocking(move || self.prepare_now(&*log, after, to))
    }

    fn prepare_now(self, log: &dyn LogSource, after: TimedMark, to: TimedMark) -> Result<Prepared, ShipError> {
        let bad = |source| ShipError::BadRun { after: after.lsn, source };
        let from = after.lsn.next().unwrap_or(Lsn::MAX);
        let bytes = log
            .read(from, to.lsn, self.plain_bytes_max)
            .map_err(|source| ShipError::Log { attempted: "be read", source })?;
        let run = RecordRun::scan(after.lsn, after.chain, bytes).map_err(bad)?;
        if run.last_lsn() > to.lsn {
            let source = reddb_file::archive::SegmentError::Lsn { expected: to.lsn, found: run.last_lsn() };
            return Err(bad(source));
        }
        if run.last_lsn() == to.lsn && run.chain_after() != to.chain {
            return Err(ShipError::ChainMismatch { lsn: to.lsn, declared: to.chain, computed: run.chain_after() });
        }
        let stored = encode_segment(&run, self.cluster, self.timeline, self.epoch, self.level);
        Ok(Prepared { run, stored: stored.map_err(ShipError::Compress)? })
    }

    /// Writes the segment, then the sidecar. Both are there when this returns.
    pub(crate) async fn write(self, store: &Store, prepared: &Prepared) -> Result<(), ShipError> {
        let name = prepared.stored.sidecar.name();
        let key = ArchiveKey::Segment(name);
        let sidecar = match store.put_create_only(&key, prepared.stored.object.clone()).await {
            Ok(_) => prepared.stored.sidecar.clone(),
            Err(StoreError::ExistsDifferent { .. }) => self.adopt(store, &key, &prepared.run).await?,
            Err(error) => return Err(error.into()),
        };
        let key = ArchiveKey::SegmentSidecar(name);
        match store.put_create_only(&key, sealed::encode(&sidecar)?.into()).await {
            Ok(_) => Ok(()),
            Err(StoreError::ExistsDifferent { .. }) => {
                let found: SegmentSidecar = store.get_document(&key, MissingDigest::Refuse).await?.document;
                let detail = format!("{found:?} where {sidecar:?} belongs");
                if found == sidecar { Ok(()) } else { Err(ShipError::Conflict { key: key.to_string(), detail }) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The sidecar of a segment that is in the archive already, in other bytes: legal if and only if it holds the same
    /// records.
    async fn adopt(self, store: &Store, key: &ArchiveKey, run: &RecordRun) -> Result<SegmentSidecar, ShipError> {
        let object = store.get_bounded(key, ARCHIVE_SEGMENT_STORED_BYTES_MAX).await?;
        let expected = run.header(self.cluster, self.timeline, self.epoch);
        let compare = {
            let object = object.clone();
            move || {
                let mut decoder = decode_segment(&*object)?;
                let found = *decoder.header();
                while decoder.next_record()?.is_some() {}
                Ok(found)
            }
        };
        let found: Result<_, reddb_file::archive::SegmentError> = tokio::task::spawn_blocking(compare).await?;
        let conflict = |detail: String| ShipError::Conflict { key: key.to_string(), detail };
        let found = found.map_err(|error| conflict(error.to_string()))?;
        if found == expected {
            Ok(sidecar_of(run, self.cluster, self.timeline, self.epoch, &object))
        } else {
            Err(conflict(format!("{found:?} where {expected:?} belongs")))
        }
    }
}
