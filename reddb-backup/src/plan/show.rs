//! A plan for people: what a dry run prints.

use std::fmt;

use super::{Plan, Stop, UnixMs};
use crate::history::Base;

/// How many segments are listed before the rest is summed up.
const SEGMENTS_SHOWN_MAX: usize = 20;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "restore {} of cluster {}", self.request.target, self.cluster)?;
        write!(f, "timeline  {}", self.timeline)?;
        let parents = self.path.iter().filter(|span| span.timeline != self.timeline && span.after < span.upto);
        for span in parents {
            write!(f, ", timeline {} up to LSN {}", span.timeline, span.upto)?;
        }
        writeln!(f)?;
        match &self.base {
            Base::Genesis => writeln!(f, "start     the empty state before LSN 1, without a snapshot")?,
            Base::Snapshot(snapshot) => writeln!(
                f,
                "start     snapshot {} at LSN {}, time {}, {} files, {} bytes",
                snapshot.id,
                snapshot.lsn,
                UnixMs(snapshot.time_ms),
                snapshot.file_count,
                snapshot.total_bytes
            )?,
        }
        for segment in self.segments.iter().take(SEGMENTS_SHOWN_MAX) {
            writeln!(
                f,
                "replay    LSN {} to {} from {} ({} bytes)",
                segment.from, segment.to, segment.key, segment.sidecar.stored_bytes
            )?;
        }
        if let Some(rest) = self.segments.get(SEGMENTS_SHOWN_MAX..).filter(|rest| !rest.is_empty()) {
            let bytes = rest.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.sidecar.stored_bytes));
            writeln!(f, "replay    {} more segments ({bytes} bytes)", rest.len())?;
        }
        match self.stop {
            Stop::AtLsn(lsn) => writeln!(f, "stop      after LSN {lsn}")?,
            Stop::AfterTime { time, at_most } => {
                writeln!(f, "stop      after the last record not later than {time}, at LSN {at_most} at the latest")?;
            }
        }
        for key in &self.unverified {
            writeln!(f, "UNVERIFIED {key} carries no digest")?;
        }
        writeln!(f, "compare   the chain at {} LSNs that other documents name", self.expected.len())?;
        write!(f, "fetch     {} bytes", self.fetch_bytes)
    }
}
