//! The keys of the archive, below its prefix.
//!
//! ```text
//! cluster.json
//! epochs/<epoch>.json   epochs/<epoch>.start.json   epochs/<epoch>.head.json
//! timelines/<timeline>.json
//! wal/<timeline>/<first>-<last>.<epoch>.wal.zst     wal/<timeline>/<first>-<last>.<epoch>.wal.zst.json
//! snapshots/<timeline>/<lsn>-<id>.json
//! objects/<2 hex>/<sha256>
//! points/<name>.json
//! manifest.json
//! ```
//!
//! LSNs and epochs are 20 digits, timelines 10, so that the order of the text is the order of the numbers. Building and
//! parsing are inverse: a key that parses is the key that would be built, character by character.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::digest::Sha256Digest;
use super::name::PointName;
use crate::ids::{Epoch, Lsn, TimelineId};

/// The folder of the epochs' claims, starts and heads.
pub const EPOCHS_PREFIX: &str = "epochs";
/// The folder of the timelines' documents.
pub const TIMELINES_PREFIX: &str = "timelines";
/// The folder of all segments.
pub const WAL_PREFIX: &str = "wal";
/// The folder of all snapshots' manifests.
pub const SNAPSHOTS_PREFIX: &str = "snapshots";
/// The folder of the snapshots' files.
pub const OBJECTS_PREFIX: &str = "objects";
/// The folder of the restore points.
pub const POINTS_PREFIX: &str = "points";

/// The folder of one timeline's segments.
#[must_use]
pub fn wal_prefix(timeline: TimelineId) -> String {
    format!("{WAL_PREFIX}/{:010}", timeline.get())
}

/// The folder of one timeline's snapshots.
#[must_use]
pub fn snapshots_prefix(timeline: TimelineId) -> String {
    format!("{SNAPSHOTS_PREFIX}/{:010}", timeline.get())
}

/// What names an archived segment. Sorts by timeline, then first LSN, then last, then epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The timeline its records are on.
    pub timeline: TimelineId,
    /// Its first record; at least 1.
    pub first_lsn: Lsn,
    /// Its last record; at least `first_lsn`.
    pub last_lsn: Lsn,
    /// The epoch that shipped it.
    pub epoch: Epoch,
}

impl SegmentName {
    fn is_normal(&self) -> bool {
        self.timeline.get() > 0
            && self.epoch > Epoch::ZERO
            && self.first_lsn > Lsn::ZERO
            && self.first_lsn <= self.last_lsn
    }
}

/// One object of the archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArchiveKey {
    /// `cluster.json`.
    Cluster,
    /// An epoch's claim.
    EpochClaim(Epoch),
    /// An epoch's start.
    EpochStart(Epoch),
    /// An epoch's head.
    EpochHead(Epoch),
    /// A timeline's document.
    Timeline(TimelineId),
    /// A segment's compressed records.
    Segment(SegmentName),
    /// What a segment holds.
    SegmentSidecar(SegmentName),
    /// A snapshot's manifest.
    Snapshot {
        /// The timeline its LSN is on.
        timeline: TimelineId,
        /// The newest record it holds; 0 for an empty one.
        lsn: Lsn,
        /// Its identity.
        id: Uuid,
    },
    /// A snapshot's file, by content.
    Object(Sha256Digest),
    /// A restore point.
    Point(PointName),
    /// The derived catalogue.
    Catalogue,
}

impl fmt::Display for ArchiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster.json"),
            Self::EpochClaim(epoch) => write!(f, "{EPOCHS_PREFIX}/{:020}.json", epoch.get()),
            Self::EpochStart(epoch) => write!(f, "{EPOCHS_PREFIX}/{:020}.start.json", epoch.get()),
            Self::EpochHead(epoch) => write!(f, "{EPOCHS_PREFIX}/{:020}.head.json", epoch.get()),
            Self::Timeline(timeline) => write!(f, "{TIMELINES_PREFIX}/{:010}.json", timeline.get()),
            Self::Segment(name) => write_segment(f, name),
            Self::SegmentSidecar(name) => {
                write_segment(f, name)?;
                f.write_str(".json")
            }
            Self::Snapshot { timeline, lsn, id } => {
                write!(f, "{SNAPSHOTS_PREFIX}/{:010}/{:020}-{}.json", timeline.get(), lsn.get(), id.hyphenated())
            }
            Self::Object(digest) => {
                write!(f, "{OBJECTS_PREFIX}/{:02x}/{digest}", digest.as_bytes()[0])
            }
            Self::Point(name) => write!(f, "{POINTS_PREFIX}/{name}.json"),
            Self::Catalogue => f.write_str("manifest.json"),
        }
    }
}

fn write_segment(f: &mut fmt::Formatter<'_>, name: &SegmentName) -> fmt::Result {
    write!(
        f,
        "{WAL_PREFIX}/{:010}/{:020}-{:020}.{:020}.wal.zst",
        name.timeline.get(),
        name.first_lsn.get(),
        name.last_lsn.get(),
        name.epoch.get()
    )
}

/// A text that is no key of the archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key:?} is not a key of a RedDB archive; it was put there by something else, or is damaged")]
pub struct KeyError {
    /// The beginning of the text.
    pub key: String,
}

impl FromStr for ArchiveKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The comparison with what would be built is what makes building and parsing inverse.
        parse(text)
            .filter(|key| key.is_normal() && key.to_string() == text)
            .ok_or_else(|| KeyError { key: text.chars().take(120).collect() })
    }
}

impl ArchiveKey {
    fn is_normal(&self) -> bool {
        match self {
            Self::Cluster | Self::Object(_) | Self::Point(_) | Self::Catalogue => true,
            Self::EpochClaim(epoch) | Self::EpochStart(epoch) | Self::EpochHead(epoch) => *epoch > Epoch::ZERO,
            Self::Timeline(timeline) | Self::Snapshot { timeline, .. } => timeline.get() > 0,
            Self::Segment(name) | Self::SegmentSidecar(name) => name.is_normal(),
        }
    }
}

fn parse(text: &str) -> Option<ArchiveKey> {
    let Some((folder, rest)) = text.split_once('/') else {
        return match text {
            "cluster.json" => Some(ArchiveKey::Cluster),
            "manifest.json" => Some(ArchiveKey::Catalogue),
            _ => None,
        };
    };
    match folder {
        EPOCHS_PREFIX => parse_epoch(rest),
        TIMELINES_PREFIX => Some(ArchiveKey::Timeline(timeline(rest.strip_suffix(".json")?)?)),
        WAL_PREFIX => parse_segment(rest),
        SNAPSHOTS_PREFIX => parse_snapshot(rest),
        OBJECTS_PREFIX => Some(ArchiveKey::Object(rest.split_once('/')?.1.parse().ok()?)),
        POINTS_PREFIX => Some(ArchiveKey::Point(rest.strip_suffix(".json")?.parse().ok()?)),
        _ => None,
    }
}

fn parse_epoch(rest: &str) -> Option<ArchiveKey> {
    let (digits, suffix) = rest.split_once('.')?;
    let epoch = Epoch::new(number(digits, 20)?);
    match suffix {
        "json" => Some(ArchiveKey::EpochClaim(epoch)),
        "start.json" => Some(ArchiveKey::EpochStart(epoch)),
        "head.json" => Some(ArchiveKey::EpochHead(epoch)),
        _ => None,
    }
}

fn parse_segment(rest: &str) -> Option<ArchiveKey> {
    let (folder, file) = rest.split_once('/')?;
    let mut parts = file.splitn(3, '.');
    let (first, last) = parts.next()?.split_once('-')?;
    let epoch = parts.next()?;
    let suffix = parts.next()?;
    let name = SegmentName {
        timeline: timeline(folder)?,
        first_lsn: Lsn::new(number(first, 20)?),
        last_lsn: Lsn::new(number(last, 20)?),
        epoch: Epoch::new(number(epoch, 20)?),
    };
    match suffix {
        "wal.zst" => Some(ArchiveKey::Segment(name)),
        "wal.zst.json" => Some(ArchiveKey::SegmentSidecar(name)),
        _ => None,
    }
}

fn parse_snapshot(rest: &str) -> Option<ArchiveKey> {
    let (folder, file) = rest.split_once('/')?;
    let (lsn, id) = file.strip_suffix(".json")?.split_once('-')?;
    Some(ArchiveKey::Snapshot {
        timeline: timeline(folder)?,
        lsn: Lsn::new(number(lsn, 20)?),
        id: Uuid::try_parse(id).ok()?,
    })
}

fn timeline(digits: &str) -> Option<TimelineId> {
    u32::try_from(number(digits, 10)?).ok().map(TimelineId::new)
}

fn number(digits: &str, width: usize) -> Option<u64> {
    if digits.len() == width && digits.bytes().all(|digit| digit.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = ArchiveKey> {
        let segment =
            (1..=u32::MAX, 1..=u64::MAX, 1..=u64::MAX, 1..=u64::MAX).prop_map(|(timeline, a, b, epoch)| SegmentName {
                timeline: TimelineId::new(timeline),
                first_lsn: Lsn::new(a.min(b)),
                last_lsn: Lsn::new(a.max(b)),
                epoch: Epoch::new(epoch),
            });
        prop_oneof![
            Just(ArchiveKey::Cluster),
            Just(ArchiveKey::Catalogue),
            (1..=u64::MAX).prop_map(|n| ArchiveKey::EpochClaim(Epoch::new(n))),
            (1..=u64::MAX).prop_map(|n| ArchiveKey::EpochStart(Epoch::new(n))),
            (1..=u64::MAX).prop_map(|n| ArchiveKey::EpochHead(Epoch::new(n))),
            (1..=u32::MAX).prop_map(|n| ArchiveKey::Timeline(TimelineId::new(n))),
            segment.clone().prop_map(ArchiveKey::Segment),
            segment.prop_map(ArchiveKey::SegmentSidecar),
            (1..=u32::MAX, any::<u64>(), any::<[u8; 16]>()).prop_map(|(timeline, lsn, id)| ArchiveKey::Snapshot {
                timeline: TimelineId::new(timeline),
                lsn: Lsn::new(lsn),
                id: Uuid::from_bytes(id),
            }),
            any::<[u8; 32]>().prop_map(|bytes| ArchiveKey::Object(Sha256Digest::from_bytes(bytes))),
            "[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}".prop_map(|name| ArchiveKey::Point(name.parse().unwrap())),
        ]
    }

    proptest! {
        #[test]
        fn every_key_is_parsed_from_what_it_builds(key in any_key()) {
            prop_assert_eq!(key.to_string().parse::<ArchiveKey>(), Ok(key));
        }

        #[test]
        fn any_text_is_a_key_only_as_it_would_be_built(text in "[a-z0-9/.-]{0,90}") {
            if let Ok(key) = text.parse::<ArchiveKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }

    #[test]
    fn the_largest_numbers_keep_their_width() {
        let name = SegmentName {
            timeline: TimelineId::new(u32::MAX),
            first_lsn: Lsn::new(1),
            last_lsn: Lsn::MAX,
            epoch: Epoch::new(u64::MAX),
        };
        assert_eq!(
            ArchiveKey::SegmentSidecar(name).to_string(),
            "wal/4294967295/00000000000000000001-18446744073709551615.18446744073709551615.wal.zst.json"
        );
    }

    #[test]
    fn unnormalised_keys_are_refused() {
        for text in [
            "",
            "cluster",
            "/cluster.json",
            "epochs/1.json",
            "epochs/00000000000000000000.json",
            "epochs/00000000000000000001.head.json/",
            "epochs/+0000000000000000001.json",
            "epochs/18446744073709551616.json",
            "timelines/0000000000.json",
            "timelines/4294967296.json",
            "wal/0000000001/00000000000000000002-00000000000000000001.00000000000000000001.wal.zst",
            "wal/0000000001/00000000000000000000-00000000000000000001.00000000000000000001.wal.zst",
            "wal/0000000001/00000000000000000001-00000000000000000001.00000000000000000001.wal.zst#1",
            "snapshots/0000000001/00000000000000000001-67E55044-10b1-426f-9247-bb680e5fe0c8.json",
            "objects/00/0100000000000000000000000000000000000000000000000000000000000000",
            "points/.x.json",
            "points/a/b.json",
        ] {
            assert!(text.parse::<ArchiveKey>().is_err(), "{text}");
        }
    }
}
