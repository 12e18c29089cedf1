//! What an operator asks for.

use std::fmt;

use reddb_file::archive::PointName;
use reddb_file::{Lsn, TimelineId};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::history::Base;

/// A time in Unix milliseconds, printed as RFC 3339 in UTC with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        match timestamp {
            Some(timestamp) => write!(f, "{timestamp:.3} ({} ms)", self.0),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// The state to restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Everything that the archive is proved to have held of the newest epoch's timeline, or of the one that is named.
    Latest,
    /// Everything up to exactly this record.
    Lsn(Lsn),
    /// The last record whose time is not after this one.
    Time(UnixMs),
    /// What a restore point names.
    Label(PointName),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("the latest record"),
            Self::Lsn(lsn) => write!(f, "LSN {lsn}"),
            Self::Time(time) => write!(f, "time {time}"),
            Self::Label(name) => write!(f, "restore point {name}"),
        }
    }
}

/// Everything that a plan is made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// The state.
    pub target: Target,
    /// The timeline whose history is meant. Default: the only one that the target exists on.
    pub timeline: Option<TimelineId>,
    /// What to start from. Default: the newest snapshot at or before the target, or genesis where there is none. In JSON it is
    /// `snapshot`: an id, `"none"` for genesis, or null.
    #[serde(rename = "snapshot", serialize_with = "as_text")]
    pub base: Option<Base<Uuid>>,
}

#[expect(clippy::ref_option, reason = "this is what serde hands over")]
fn as_text<S: Serializer>(base: &Option<Base<Uuid>>, serializer: S) -> Result<S::Ok, S::Error> {
    match base {
        Some(base) => serializer.collect_str(base),
        None => serializer.serialize_none(),
    }
}

impl Request {
    /// The state `target`, wherever it exists, from the newest base before it.
    #[must_use]
    pub const fn new(target: Target) -> Self {
        Self { target, timeline: None, base: None }
    }

    /// The same on `timeline`.
    #[must_use]
    pub const fn on(mut self, timeline: TimelineId) -> Self {
        self.timeline = Some(timeline);
        self
    }

    /// The same from this base.
    #[must_use]
    pub const fn from_base(mut self, base: Base<Uuid>) -> Self {
        self.base = Some(base);
        self
    }
}
