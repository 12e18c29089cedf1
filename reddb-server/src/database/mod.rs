//! An open database: everything but the ports.
//!
//! [`Database::open`] takes the directory, recovers, claims the archive and starts the threads; [`Database::close`] ships
//! what is left and stops them. The data port, the admin port and programs that embed RedDB all use this one handle.

mod access;
mod archive;
mod begin;
mod bridge;
mod embedded;
mod error;
mod janitor;
mod local;
mod open;
mod place;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reddb_file::Lsn;
use reddb_file::control::{ControlFile, Shutdown};
use reddb_file::identity::Identity;
use reddb_file::lock::DirLock;
use tokio::sync::oneshot;

use self::archive::Archive;
pub(crate) use self::archive::{ARCHIVE_DOWN, NAME_TAKEN, store_settings};
pub use self::archive::{BackupSummary, MarkSummary};
pub(crate) use self::bridge::ENGINE_NAME;
pub use self::embedded::Connection;
use self::error::CloseFault;
pub use self::error::{CloseError, OpenError};
use self::janitor::Janitor;
use crate::clock::Clock;
use crate::command::{CommandSpec, Run};
use crate::commit::gate::{Condition, WriteGate};
use crate::commit::{Committer, Invocation, Job, JobOutcome, Mailbox, Receipt};
use crate::config::Config;
use crate::engine::Engine;
use crate::keyspace::layout::{EntryKey, ValueRef, decode_entry_ref};
use crate::keyspace::{DATABASE_COUNT, Env, SnapshotState, State, StateError, Txn, digest};
use crate::reply::{CommandError, Reply};
use crate::status::Status;

/// A handle to an open database; cheap to clone.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

/// The state of one moment. See [`Database::view`].
pub(crate) struct View {
    state: Arc<SnapshotState>,
    /// That moment on the expiry clock, in Unix milliseconds.
    now_ms: u64,
}

struct Inner {
    config: Config,
    identity: Identity,
    clock: Arc<dyn Clock>,
    env: Arc<Env>,
    gate: Arc<WriteGate>,
    engine: Arc<dyn Engine>,
    control: Arc<Mutex<ControlFile>>,
    committer: Arc<Committer>,
    janitor: Janitor,
    archive: Archive,
    /// Given up when the database is closed, or when its last handle goes.
    lock: Mutex<Option<DirLock>>,
}

impl Database {
    /// Opens the database in `config.dir`, which is created where it does not exist. Must be called within a tokio runtime
    /// with threads; the archiver runs there.
    ///
    /// It may be open for reading alone: where the archive of a restored directory is away, or nothing can be restored from it
    /// yet, writes are refused until that is over. [`Database::status`] says whether they are, and why.
    ///
    /// # Errors
    /// Any [`OpenError`]; the directory is then as it was, apart from what recovery may safely repeat. In the archive an epoch
    /// and a timeline's number may have been claimed, which nobody uses then.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        Ok(open::open(config, Arc::new(crate::clock::SystemClock::new())).await?)
    }

    /// Carries out a job in the committer. The receiver gives an error where the process is stopping.
    #[must_use]
    pub(crate) fn submit(&self, job: Job) -> oneshot::Receiver<JobOutcome> {
        self.inner.committer.submit(job)
    }

    /// As [`Database::submit`], from the thread that serves `mailbox`.
    #[must_use]
    pub(crate) fn submit_from(&self, mailbox: &Arc<Mailbox>, job: Job) -> oneshot::Receiver<JobOutcome> {
        self.inner.committer.submit_from(mailbox, job)
    }

    /// As [`Database::submit`], but a job that is alone may be committed in this thread, which then blocks until it is durable.
    #[must_use]
    pub(crate) fn submit_or_lead(&self, job: Job) -> oneshot::Receiver<JobOutcome> {
        self.inner.committer.submit_or_lead(job)
    }

    /// Hands out the answers that come into `mailbox`, for ever; see [`Mailbox::serve`].
    pub(crate) async fn serve_mailbox(&self, mailbox: &Mailbox, round_ends: impl Fn()) {
        mailbox.serve(&self.inner.committer, round_ends).await;
    }

    /// Jobs that their submitters committed.
    #[cfg(test)]
    pub(crate) fn led(&self) -> u64 {
        self.inner.committer.led()
    }

    /// Carries out a reading command against the newest durable state. May wait for the disk.
    #[must_use]
    pub(crate) fn read(&self, invocation: &Invocation) -> Reply {
        self.read_from(&self.view(), invocation)
    }

    /// The newest durable state, to be read at this moment. What it holds cannot be compacted away: to be kept for a short time.
    #[must_use]
    pub(crate) fn view(&self) -> View {
        self.view_of(Arc::new(SnapshotState::newest(&self.inner.engine)))
    }

    /// As [`Database::view`], for who asks often: `recent`, a state of this database, serves again where it is still the newest, and
    /// is replaced where it is not.
    #[must_use]
    pub(crate) fn view_from(&self, recent: &mut Option<Arc<SnapshotState>>) -> View {
        let engine = &self.inner.engine;
        let newest = recent.take().filter(|state| state.lsn() == engine.applied_lsn());
        let newest = newest.unwrap_or_else(|| Arc::new(SnapshotState::newest(engine)));
        self.view_of(Arc::clone(recent.insert(newest)))
    }

    fn view_of(&self, state: Arc<SnapshotState>) -> View {
        View { state, now_ms: self.inner.env.expiry_from_wall_ms(self.inner.clock.wall_ms()) }
    }

    /// Carries out a reading command against a state. May wait for the disk.
    #[must_use]
    pub(crate) fn read_from(&self, view: &View, invocation: &Invocation) -> Reply {
        let Run::Read(run) = invocation.spec.run else {
            return Reply::Error(CommandError::new(format!("ERR '{}' is not a reading command", invocation.spec.name)));
        };
        let mut txn = Txn::reading(&*view.state, &self.inner.env, view.now_ms);
        let result = txn.select(invocation.db).and_then(|()| run(&mut txn, &invocation.args));
        result.unwrap_or_else(Reply::Error)
    }

    /// Pulls what a command will read into memory, from a state that is the newest or nearly so, so that the committer need not
    /// wait for the disk. A failure here is met again, and reported, where the command runs.
    pub(crate) fn warm(view: &View, invocation: &Invocation) {
        drop(Self::try_warm(&view.state, invocation));
    }

    fn try_warm(state: &SnapshotState, invocation: &Invocation) -> Result<(), StateError> {
        let space = state.database(invocation.db)?.space;
        for key in keys_of(invocation.spec, &invocation.args) {
            let entry_key = EntryKey::key(space, key);
            let Some(value) = state.get(&entry_key)? else { continue };
            if let ValueRef::Hash(hash) = decode_entry_ref(&entry_key, &value)?.value {
                for field in fields_of(invocation) {
                    state.get(&EntryKey::field(hash.object, field))?;
                }
            }
        }
        Ok(())
    }

    /// The newest durable record.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        self.inner.committer.published().receipt()
    }

    /// The digest of the whole logical state, and the LSN that it is of. Reads everything.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn digest(&self) -> Result<(Lsn, [u8; 32]), CommandError> {
        let state = SnapshotState::newest(&self.inner.engine);
        Ok((state.lsn(), digest::digest(&state)?))
    }

    /// The settings it was opened with.
    #[must_use]
    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The wall clock, in Unix milliseconds.
    #[must_use]
    pub(crate) fn wall_ms(&self) -> u64 {
        self.inner.clock.wall_ms()
    }

    /// Makes a snapshot now; returns when it is published.
    ///
    /// # Errors
    /// Where one is being made already, or the archive cannot take it.
    pub async fn backup(&self, reason: &str) -> Result<BackupSummary, CommandError> {
        self.inner.archive.backup(reason).await
    }

    /// Names the newest durable LSN; returns when the archive has it and the name.
    ///
    /// # Errors
    /// Where the name is not possible or taken, or the archive cannot take it.
    pub async fn mark(&self, name: &str) -> Result<MarkSummary, CommandError> {
        self.inner.archive.mark(name).await
    }

    /// When the newest snapshot was published, in Unix seconds; the time of opening before there is one.
    #[must_use]
    pub(crate) fn last_save_unix_s(&self) -> u64 {
        self.inner.archive.last_save_ms() / 1000
    }

    /// Believes the wall clock after it jumped.
    pub async fn confirm_clock(&self) {
        // An error means that the committer has stopped: there is no clock to believe any more.
        drop(self.inner.committer.confirm_clock().await);
    }

    /// Why writes are refused now, if they are: a code and a sentence.
    #[must_use]
    pub(crate) fn refusal(&self) -> Option<(&'static str, String)> {
        self.inner.gate.refusal().map(|(condition, reason)| (condition.code(), reason))
    }

    /// The bytes that this process may still take on the data directory's disk.
    ///
    /// # Errors
    /// Where the system does not say.
    pub(crate) fn disk_free_bytes(&self) -> std::io::Result<u64> {
        janitor::free_bytes(&self.inner.config.dir)
    }

    /// The free bytes below which writes are refused: the reserve, or what the engine needs where that is more.
    pub(crate) fn disk_wanted_bytes(&self) -> u64 {
        self.inner.janitor.wanted_bytes()
    }

    /// One look at everything.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let published = inner.committer.published();
        let durable = published.durable();
        let (epoch, archived_lsn) = {
            let control = inner.control.lock();
            (control.state().epoch, control.state().archived.lsn)
        };
        let state = SnapshotState::newest(&inner.engine);
        let database = |db: u32| {
            let found = state.database(db).ok()?;
            (found.key_count > 0).then_some((db, found))
        };
        Status {
            cluster: inner.identity.cluster,
            node: inner.identity.node,
            timeline: published.timeline(),
            epoch,
            durable_lsn: durable.lsn,
            durable_time_ms: durable.time_ms,
            archived_lsn,
            flushed_lsn: inner.engine.flushed().lsn,
            wal_bytes: published.wal_bytes(),
            commits: published.commits(),
            syncs: published.syncs(),
            refusal: self.refusal(),
            databases: (0..DATABASE_COUNT).filter_map(database).collect(),
            engine: inner.engine.stats(),
            archive: inner.archive.report(durable, archived_lsn, inner.clock.wall_ms()),
            expired_keys: published.expired_keys(),
            clock_offset_ms: inner.env.clock_offset_ms(),
        }
    }

    /// Ships what is left, makes everything durable and stops the threads. Writes are refused from the first moment on;
    /// where the archive cannot be reached within `ship_timeout`, the rest is shipped by the next start.
    ///
    /// # Errors
    /// Where something could not be made durable; the log has every acknowledged write all the same.
    pub async fn close(self, ship_timeout: Duration) -> Result<(), CloseError> {
        let inner = self.inner;
        inner.gate.set(Condition::ShuttingDown, || "the server is stopping".to_owned());
        inner.archive.stop(ship_timeout).await;
        let stop = move || -> Result<(), CloseFault> {
            inner.janitor.stop();
            let end = inner.committer.stop().ok_or(CloseFault::Committer)?;
            let poisoned = inner.gate.holds(Condition::Poisoned);
            let closed = inner.engine.close();
            if poisoned {
                return Err(CloseFault::Poisoned);
            }
            closed?;
            janitor::write_marks(&inner.control, end, inner.engine.as_ref())?;
            let mut control = inner.control.lock();
            let mut state = control.state().clone();
            state.shutdown = Shutdown::Clean;
            control.write(&state)?;
            drop(control);
            inner.lock.lock().take();
            Ok(())
        };
        Ok(tokio::task::spawn_blocking(stop).await.map_err(|_| CloseFault::Committer)??)
    }

    /// The data directory.
    #[must_use]
    pub(crate) fn dir(&self) -> &Path {
        &self.inner.config.dir
    }
}

/// The keys among a command's arguments.
fn keys_of<'a>(spec: &CommandSpec, args: &'a [bytes::Bytes]) -> impl Iterator<Item = &'a bytes::Bytes> {
    let count = i32::try_from(args.len()).unwrap_or(i32::MAX);
    let positions = spec.keys;
    let last = if positions.last < 0 { count.saturating_add(positions.last) } else { positions.last };
    let first = usize::try_from(positions.first).unwrap_or(0);
    let step = usize::try_from(positions.step).unwrap_or(0);
    let last = usize::try_from(last).unwrap_or(0).min(args.len().saturating_sub(1));
    let range = if first == 0 || step == 0 || first > last { &args[..0] } else { &args[first..=last] };
    range.iter().step_by(step.max(1))
}

/// The hash fields among a command's arguments, as far as it reads them one by one.
fn fields_of(invocation: &Invocation) -> impl Iterator<Item = &bytes::Bytes> {
    let step = match invocation.spec.name {
        "hset" | "hmset" => 2,
        "hsetnx" | "hincrby" | "hincrbyfloat" => usize::MAX,
        "hdel" => 1,
        _ => return invocation.args[..0].iter().step_by(1),
    };
    invocation.args.get(2..).unwrap_or_default().iter().step_by(step)
}

#[cfg(test)]
mod tests;
