//! The control file's contents, and their encoding as bincode.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::ids::{Epoch, Lsn, TimelineId};
use crate::mark::{Mark, TimedMark};

/// What the node knows about its log besides the log itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlState {
    /// The timeline that the node writes, or continues.
    pub timeline: TimelineId,
    /// The newest epoch that the node claimed; 0 for none.
    pub epoch: Epoch,
    /// A lower bound of what is durable in the local log: the log must reach it, with this chain.
    pub durable: TimedMark,
    /// A lower bound of what the archive holds; never above `durable`.
    pub archived: Mark,
    /// What the engine has on disk: replay begins after it; never above `durable`.
    pub checkpoint: Mark,
    /// Whether the last process ended in order.
    pub shutdown: Shutdown,
    /// The timeline's clock offset in milliseconds: the expiry clock is the wall clock minus this.
    pub clock_offset_ms: i64,
    /// The timeline's first record.
    pub timeline_begin: Lsn,
    /// The timeline's random id, as in its timeline record; shown as in the timeline's document in the archive.
    #[serde(serialize_with = "as_uuid")]
    pub timeline_random_id: [u8; 16],
    /// Where a restore took this directory from; stays when the directory's own timeline has begun.
    pub restored_from: Option<RestoredFrom>,
}

fn as_uuid<S: serde::Serializer>(id: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
    uuid::Uuid::from_bytes(*id).serialize(serializer)
}

/// How the last process that wrote here ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// It synced everything and said so. The next one must say `Unclean` before it writes.
    Clean,
    /// It is running, or it ended without saying so.
    Unclean,
}

/// What a restore leaves for the first `serve` to act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoredFrom {
    /// The timeline that was restored.
    pub parent: TimelineId,
    /// Its last record that was restored.
    pub fork: Mark,
    /// The restored moment, in Unix milliseconds.
    pub target_time_ms: u64,
    /// What the clocks of expiring keys do.
    pub ttl: TtlMode,
    /// The parent's clock offset in milliseconds.
    pub parent_clock_offset_ms: i64,
}

/// What the clocks of expiring keys do after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TtlMode {
    /// They continue from the restored moment.
    Continue,
    /// They follow the wall clock.
    Absolute,
}

/// A text that names no [`TtlMode`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `continue` or `absolute`, got {0:?}")]
pub struct UnknownTtlMode(String);

impl FromStr for TtlMode {
    type Err = UnknownTtlMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "continue" => Ok(Self::Continue),
            "absolute" => Ok(Self::Absolute),
            other => Err(UnknownTtlMode(other.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for TtlMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Continue => "continue",
            Self::Absolute => "absolute",
        })
    }
}

/// A state that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlStateError {
    /// Timeline number 0.
    #[error("a timeline cannot have the number 0")]
    ZeroTimeline,
    /// A mark above the durable one.
    #[error("the {name} mark is at LSN {lsn}, above the durable mark at LSN {durable}")]
    AboveDurable {
        /// Which mark.
        name: &'static str,
        /// Where it is.
        lsn: Lsn,
        /// Where the durable mark is.
        durable: Lsn,
    },
    /// Two marks at one LSN with different chains.
    #[error("the {name} mark and the durable mark are both at LSN {lsn} but disagree on the chain")]
    ChainsDisagree {
        /// Which mark.
        name: &'static str,
        /// Where both are.
        lsn: Lsn,
    },
}

impl ControlState {
    /// Whether the state may be written.
    ///
    /// # Errors
    /// The broken rule.
    pub fn check(&self) -> Result<(), ControlStateError> {
        let restored_from = self.restored_from.as_ref().map(|from| from.parent);
        if self.timeline.get() == 0 || restored_from.is_some_and(|parent| parent.get() == 0) {
            return Err(ControlStateError::ZeroTimeline);
        }
        let durable = self.durable.mark();
        for (name, mark) in [("archived", self.archived), ("checkpoint", self.checkpoint)] {
            if mark.lsn > durable.lsn {
                return Err(ControlStateError::AboveDurable { name, lsn: mark.lsn, durable: durable.lsn });
            }
            if mark.lsn == durable.lsn && mark.chain != durable.chain {
                return Err(ControlStateError::ChainsDisagree { name, lsn: mark.lsn });
            }
        }
        Ok(())
    }
}

/// The state as it is encoded: plain numbers and bytes, in this order.
#[derive(Clone, Debug, Encode, Decode)]
pub(super) struct Payload {
    timeline: u32,
    epoch: u64,
    durable: PayloadMark,
    durable_time_ms: u64,
    archived: PayloadMark,
    checkpoint: PayloadMark,
    shutdown: PayloadShutdown,
    clock_offset_ms: i64,
    timeline_begin: u64,
    timeline_random_id: [u8; 16],
    restored_from: Option<PayloadRestoredFrom>,
}

#[derive(Clone, Debug, Encode, Decode)]
struct PayloadMark {
    lsn: u64,
    chain: [u8; 32],
}

#[derive(Clone, Debug, Encode, Decode)]
enum PayloadShutdown {
    Clean,
    Unclean,
}

#[derive(Clone, Debug, Encode, Decode)]
struct PayloadRestoredFrom {
    parent: u32,
    fork: PayloadMark,
    target_time_ms: u64,
    ttl: PayloadTtlMode,
    parent_clock_offset_ms: i64,
}

#[derive(Clone, Debug, Encode, Decode)]
enum PayloadTtlMode {
    Continue,
    Absolute,
}

impl From<Mark> for PayloadMark {
    fn from(mark: Mark) -> Self {
        Self { lsn: mark.lsn.get(), chain: *mark.chain.as_bytes() }
    }
}

impl From<PayloadMark> for Mark {
    fn from(mark: PayloadMark) -> Self {
        Self { lsn: Lsn::new(mark.lsn), chain: Chain::from_bytes(mark.chain) }
    }
}

impl From<&ControlState> for Payload {
    fn from(state: &ControlState) -> Self {
        Self {
            timeline: state.timeline.get(),
            epoch: state.epoch.get(),
            durable: state.durable.mark().into(),
            durable_time_ms: state.durable.time_ms,
            archived: state.archived.into(),
            checkpoint: state.checkpoint.into(),
            shutdown: match state.shutdown {
                Shutdown::Clean => PayloadShutdown::Clean,
                Shutdown::Unclean => PayloadShutdown::Unclean,
            },
            clock_offset_ms: state.clock_offset_ms,
            timeline_begin: state.timeline_begin.get(),
            timeline_random_id: state.timeline_random_id,
            restored_from: state.restored_from.as_ref().map(|from| PayloadRestoredFrom {
                parent: from.parent.get(),
                fork: from.fork.into(),
                target_time_ms: from.target_time_ms,
                ttl: match from.ttl {
                    TtlMode::Continue => PayloadTtlMode::Continue,
                    TtlMode::Absolute => PayloadTtlMode::Absolute,
                },
                parent_clock_offset_ms: from.parent_clock_offset_ms,
            }),
        }
    }
}

impl From<Payload> for ControlState {
    fn from(payload: Payload) -> Self {
        Self {
            timeline: TimelineId::new(payload.timeline),
            epoch: Epoch::new(payload.epoch),
            durable: Mark::from(payload.durable).at_time(payload.durable_time_ms),
            archived: payload.archived.into(),
            checkpoint: payload.checkpoint.into(),
            shutdown: match payload.shutdown {
                PayloadShutdown::Clean => Shutdown::Clean,
                PayloadShutdown::Unclean => Shutdown::Unclean,
            },
            clock_offset_ms: payload.clock_offset_ms,
            timeline_begin: Lsn::new(payload.timeline_begin),
            timeline_random_id: payload.timeline_random_id,
            restored_from: payload.restored_from.map(|from| RestoredFrom {
                parent: TimelineId::new(from.parent),
                fork: from.fork.into(),
                target_time_ms: from.target_time_ms,
                ttl: match from.ttl {
                    PayloadTtlMode::Continue => TtlMode::Continue,
                    PayloadTtlMode::Absolute => TtlMode::Absolute,
                },
                parent_clock_offset_ms: from.parent_clock_offset_ms,
            }),
        }
    }
}
