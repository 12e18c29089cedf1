//! What the committer does between jobs: it deletes what has expired and reclaims what nothing refers to.
//!
//! A deletion of an expired key is a record like any other. Reclaiming is not logged: it removes engine entries that no
//! state at or after the newest LSN can reach. Both work in small steps, so that jobs do not wait for them.

use std::ops::Bound;

use bytes::Bytes;
use reddb_wire::ObjectId;

use super::core::{BatchFull, Core, Now};
use super::tail::{CommitFailure, Tail};
use crate::engine::RangeDeletion;
use crate::keyspace::layout::{
    EXPIRY_PREFIX, GARBAGE_PREFIX, Garbage, decode_entry, decode_expiry_entry, decode_garbage_entry, expiry_entry,
    field_entry, key_entry, prefix_end,
};
use crate::keyspace::{DATABASE_COUNT, State, StateError, Value};
use crate::reply::Reply;

/// Hints followed in one step.
const EXPIRE_STEP_HINTS: usize = 256;
/// Entries reclaimed in one step.
const RECLAIM_STEP_ENTRIES: usize = 4096;
/// Keys of a dropped space looked at in one step.
const RECLAIM_STEP_KEYS: usize = 512;

/// What a step of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UpkeepDone {
    /// Keys that were deleted because they had expired.
    pub(super) expired: u64,
    /// Whether there is more to do at once.
    pub(super) more: bool,
}

/// Why upkeep stopped.
#[derive(Debug)]
pub(super) enum UpkeepError {
    /// A batch failed.
    Commit(CommitFailure),
    /// The state cannot be read.
    State(StateError),
}

impl From<CommitFailure> for UpkeepError {
    fn from(failure: CommitFailure) -> Self {
        Self::Commit(failure)
    }
}

impl From<StateError> for UpkeepError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

/// Deletes some keys that have expired by `expiry_now_ms` of the expiry clock. The batch must be committed.
pub(super) fn expire_step(
    core: &mut Core,
    tail: &mut Tail,
    now: Now,
    expiry_now_ms: u64,
) -> Result<UpkeepDone, UpkeepError> {
    if !core.may_expire(expiry_now_ms) {
        return Ok(UpkeepDone::default());
    }
    let from = Bytes::copy_from_slice(&[EXPIRY_PREFIX]);
    let to = expiry_entry(expiry_now_ms.saturating_add(1), ObjectId::initial_space(0), b"");
    let hints: Vec<Bytes> = core.read_state(|state| {
        let hints = state.range(Bound::Included(from.clone()), Bound::Excluded(to)).take(EXPIRE_STEP_HINTS);
        hints.map(|hint| hint.map(|(key, _)| key)).collect()
    })?;
    let Some(last) = hints.last().cloned() else {
        let due_ms = core.read_state(|state| {
            let next = state.range(Bound::Included(from.clone()), Bound::Excluded(prefix_end(&from))).next();
            let Some((hint, _)) = next.transpose()? else { return Ok(u64::MAX) };
            Ok(decode_expiry_entry(&hint)?.0)
        })?;
        core.release_state();
        core.expects_expiry_at(due_ms);
        return Ok(UpkeepDone::default());
    };
    let more = hints.len() == EXPIRE_STEP_HINTS;
    let mut expired = 0;
    let written = core.write(now, |txn| {
        for hint in &hints {
            let (_, space, key) = decode_expiry_entry(hint).map_err(StateError::from)?;
            for db in 0..DATABASE_COUNT {
                let before = txn.database(db)?;
                if before.space == space {
                    // Looking an expired key up deletes it.
                    txn.lookup_in(db, &key)?;
                    expired += before.key_count.saturating_sub(txn.database(db)?.key_count);
                }
            }
        }
        Ok(Reply::Ok)
    });
    core.commit(tail)?;
    core.release_state();
    if matches!(written, Err(BatchFull) | Ok((Reply::Error(_), _))) {
        // Nothing is written for now: the hints stay.
        return Ok(UpkeepDone::default());
    }
    delete_all(core, &from, &prefix_after(&last))?;
    Ok(UpkeepDone { expired, more })
}

/// Reclaims some garbage. The batch must be committed.
pub(super) fn reclaim_step(core: &mut Core) -> Result<UpkeepDone, UpkeepError> {
    if !core.may_have_garbage() || core.disk_is_full() {
        return Ok(UpkeepDone::default());
    }
    let from = Bytes::copy_from_slice(&[GARBAGE_PREFIX]);
    let to = prefix_end(&from);
    let marker = core.read_state(|state| state.range(Bound::Included(from), Bound::Excluded(to)).next().transpose())?;
    core.release_state();
    let Some((marker, _)) = marker else {
        core.has_no_garbage();
        return Ok(UpkeepDone::default());
    };
    let done = match decode_garbage_entry(&marker).map_err(StateError::from)? {
        Garbage::Object(object) => reclaim_object(core, object)?,
        Garbage::Space(space) => reclaim_space(core, space)?,
    };
    if done {
        delete_all(core, &marker, &prefix_after(&marker))?;
    }
    Ok(UpkeepDone { expired: 0, more: true })
}

fn reclaim_object(core: &mut Core, object: ObjectId) -> Result<bool, StateError> {
    let from = field_entry(object, b"");
    delete_some(core, &from, &prefix_end(&from))
}

/// A space's keys are removed after what they refer to, so that a step cut short loses nothing.
fn reclaim_space(core: &mut Core, space: ObjectId) -> Result<bool, StateError> {
    let from = key_entry(space, b"");
    let to = prefix_end(&from);
    let keys: Vec<(Bytes, Bytes)> = core.read_state(|state| {
        state.range(Bound::Included(from.clone()), Bound::Excluded(to.clone())).take(RECLAIM_STEP_KEYS).collect()
    })?;
    core.release_state();
    let Some((last, _)) = keys.last() else { return Ok(true) };
    for (entry_key, value) in &keys {
        if let Value::Hash(hash) = decode_entry(entry_key, value)?.value
            && !reclaim_object(core, hash.object)?
        {
            delete_all(core, &from, entry_key)?;
            return Ok(false);
        }
    }
    delete_all(core, &from, &prefix_after(last))?;
    Ok(false)
}

/// Removes up to a step's worth of entries; says whether none is left.
fn delete_some(core: &Core, from: &[u8], to: &[u8]) -> Result<bool, StateError> {
    let range = (Bound::Included(from), Bound::Excluded(to));
    let deleted = core.engine().delete_range_step(range, RECLAIM_STEP_ENTRIES)?;
    Ok(matches!(deleted, RangeDeletion::Done { .. }))
}

/// Removes every entry of a range that is known to be short.
fn delete_all(core: &Core, from: &[u8], to: &[u8]) -> Result<(), StateError> {
    while !delete_some(core, from, to)? {}
    Ok(())
}

/// The first key after `key`.
fn prefix_after(key: &[u8]) -> Bytes {
    let mut after = Vec::with_capacity(key.len() + 1);
    after.extend_from_slice(key);
    after.push(0);
    after.into()
}
