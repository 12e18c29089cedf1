//! Claiming the archive: at the start where the store can be reached, later where it cannot.
//!
//! A directory may start while the store is away: it goes on in its last epoch, ships nothing, and claims as soon as the store is
//! back. A restored one that has not begun its timeline takes no writes before: that one's number needs the archive's word.

use std::time::Duration;

use reddb_backup::claim::EpochsError;
use reddb_backup::claim::{
    Claim, ClaimError, Claimant, ClaimedTimeline, LocalTimeline, Takeover, TimelineRequest, WatchSettings, claim,
    claim_timeline,
};
use reddb_backup::clock::SystemClock;
use reddb_backup::source::LocalHistory;
use reddb_backup::store::{
    Addressing, ArchiveUrl, OpenMode, PlainHttp, ProbeError, ReadError, Store, StoreError, StoreErrorKind,
    StoreSettings,
};
use reddb_file::archive::{ForkPoint, Text, TimelineReason};
use reddb_file::identity::Identity;
use reddb_file::{Epoch, Lsn, Mark, TimedMark, TimelineId};
use uuid::Uuid;

use crate::config::{ArchiveConfig, Config};
use crate::database::error::OpenFault;
use crate::exit::Exit;

/// How long a store may take to answer the few small requests that are asked first.
const PROBE_PATIENCE: Duration = Duration::from_secs(15);

/// Who claims, and with what.
#[derive(Clone, Debug)]
pub(in crate::database) struct Claiming {
    pub(in crate::database) identity: Identity,
    /// The timeline the log is on; for a fork the parent.
    pub(in crate::database) timeline: TimelineId,
    /// Where the timeline begins in its parent, if it has one.
    pub(in crate::database) parent: Option<(TimelineId, Mark)>,
    pub(in crate::database) random_id: [u8; 16],
    pub(in crate::database) clock_offset_ms: i64,
    pub(in crate::database) begun: Begun,
    pub(in crate::database) end: TimedMark,
    pub(in crate::database) oldest: TimedMark,
    /// The epoch to go on in until another is claimed.
    pub(in crate::database) epoch: Epoch,
    /// The newest epoch that is known to be this directory's own and no copy's.
    pub(in crate::database) own_epoch: Epoch,
    /// How far the directory has been archived, as it remembers.
    pub(in crate::database) archived: Mark,
}

/// Whether the timeline's first record is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::database) enum Begun {
    /// It is.
    Yes,
    /// It is not, and the timeline's number is decided.
    No,
    /// It is not: a restored directory, whose new timeline has no number yet.
    NeedsNumber,
}

/// What was claimed.
#[derive(Clone, Debug)]
pub(in crate::database) struct Claimed {
    pub(in crate::database) store: Store,
    pub(in crate::database) url: String,
    pub(in crate::database) number: TimelineNumber,
    /// The epoch to log in until another is claimed.
    pub(in crate::database) epoch: Epoch,
    pub(in crate::database) claim: ClaimState,
}

impl Claimed {
    /// Whether this process owns an epoch of an archive that can give nothing back before it has a snapshot.
    pub(in crate::database) fn needs_snapshot(&self) -> bool {
        matches!(&self.claim, ClaimState::Owned(claim) if claim.needs_snapshot)
    }

    /// Whether this process owns an epoch of an archive that has no snapshot of this log.
    pub(in crate::database) fn lacks_snapshot(&self) -> bool {
        matches!(&self.claim, ClaimState::Owned(claim) if claim.newest_snapshot.is_none())
    }
}

/// Whether this process owns an epoch.
#[derive(Clone, Debug)]
pub(in crate::database) enum ClaimState {
    /// It does.
    Owned(Box<Claim>),
    /// The store is away.
    Pending {
        /// What to claim with.
        claimer: Box<Claimer>,
        /// What the store answered.
        reason: String,
    },
}

/// The settings of the store, out of the configuration.
pub(crate) fn store_settings(config: &ArchiveConfig) -> StoreSettings {
    StoreSettings {
        endpoint: config.endpoint.clone(),
        region: config.region.clone(),
        addressing: if config.virtual_hosted { Addressing::VirtualHosted } else { Addressing::Path },
        plain_http: if config.allow_http { PlainHttp::Allow } else { PlainHttp::Refuse },
        credentials_file: config.credentials_file.clone(),
        ..StoreSettings::default()
    }
}

/// Opens the store and claims the next epoch, and a timeline's number where one is needed.
pub(in crate::database) async fn claim_at_start(
    config: &Config,
    claiming: Claiming,
    past: &dyn LocalHistory,
) -> Result<Claimed, OpenFault> {
    let refused = |exit, error: &dyn std::fmt::Display| OpenFault::Archive { message: error.to_string(), exit };
    let url_text = config
        .archive_url()
        .map_err(|source| OpenFault::System { what: "cannot find the data directory's path", source })?;
    let url: ArchiveUrl = url_text.parse().map_err(|error| refused(Exit::Usage, &error))?;
    // What has been archived is somewhere: a local archive's directory that is missing is away, and is not begun anew. A restored
    // directory comes out of an archive; but the one in the directory itself is its own, and is there once it has been claimed.
    let begins_own =
        claiming.begun == Begun::NeedsNumber && config.archive.url.is_none() && claiming.own_epoch == Epoch::ZERO;
    let archived = if config.new_archive || begins_own { Lsn::ZERO } else { claiming.archived.lsn };
    let mode = match archived {
        Lsn::ZERO => OpenMode::Create,
        _ => OpenMode::MayBeAway,
    };
    let store =
        Store::open(&url, &store_settings(&config.archive), mode).map_err(|error| refused(Exit::Usage, &error))?;
    let claimant = Claimant {
        cluster: claiming.identity.cluster,
        node: claiming.identity.node,
        holder: holder(),
        timeline: LocalTimeline {
            timeline: claiming.timeline,
            parent: claiming.parent.map(|(timeline, mark)| fork_point(timeline, mark)),
            id: Uuid::from_bytes(claiming.random_id),
            clock_offset_ms: claiming.clock_offset_ms,
        },
        durable: claiming.end,
        oldest: claiming.oldest,
        archived,
        claimed: claiming.own_epoch,
        takeover: if config.takeover { Takeover::Allow } else { Takeover::Refuse },
        watched: None,
    };
    let needs_number = claiming.begun == Begun::NeedsNumber;
    let mut claimer = Claimer { claimant, needs_number, watch: WatchSettings::default() };
    let owned = match claimer.probe(&store).await {
        Ok(()) => claimer.claim(&store, claiming.end, past).await,
        Err(failure) => Err(failure),
    };
    let number = claimer.number();
    let (epoch, state) = match owned {
        Ok(claim) => (claim.epoch, ClaimState::Owned(Box::new(claim))),
        Err(Failure { retry: true, message, .. }) => {
            tracing::warn!(%message, "the archive cannot be reached; starting without it, the log is kept");
            (claiming.epoch, ClaimState::Pending { claimer: Box::new(claimer), reason: message })
        }
        Err(failure) => return Err(OpenFault::Archive { message: failure.message, exit: failure.exit }),
    };
    Ok(Claimed { store, url: url.to_string(), number, epoch, claim: state })
}

/// A timeline's number, and what tells it from another one that was given the same.
#[derive(Clone, Copy, Debug)]
pub(in crate::database) struct TimelineNumber {
    pub(in crate::database) timeline: TimelineId,
    pub(in crate::database) random_id: [u8; 16],
}

/// Claims for one process, as often as it takes.
#[derive(Clone, Debug)]
pub(in crate::database) struct Claimer {
    claimant: Claimant,
    /// Whether the timeline's number is still to be claimed. Once it is, it stays claimed.
    needs_number: bool,
    /// How another holder is watched.
    watch: WatchSettings,
}

impl Claimer {
    /// The timeline's number; where it is still to be claimed, the log's until then.
    pub(in crate::database) fn number(&self) -> TimelineNumber {
        let LocalTimeline { timeline, id, .. } = self.claimant.timeline;
        TimelineNumber { timeline, random_id: *id.as_bytes() }
    }

    /// Claims the timeline's number, where that is needed, and the next epoch. The log ends at `durable`.
    pub(in crate::database) async fn claim(
        &mut self,
        store: &Store,
        durable: TimedMark,
        past: &dyn LocalHistory,
    ) -> Result<Claim, Failure> {
        let claimed = self.try_claim(store, durable, past).await;
        self.note(claimed)
    }

    /// Whether the store answers, and can be claimed in.
    pub(in crate::database) async fn probe(&mut self, store: &Store) -> Result<(), Failure> {
        let probed = probe(store).await;
        self.note(probed)
    }

    fn note<T>(&mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        if result.as_ref().is_err_and(|failure| failure.exit == Exit::Unreachable) {
            self.watch = WatchSettings::after_outage();
        }
        result
    }

    async fn try_claim(
        &mut self,
        store: &Store,
        durable: TimedMark,
        past: &dyn LocalHistory,
    ) -> Result<Claim, Failure> {
        self.claimant.durable = durable;
        // What was seen in an earlier attempt may be long past.
        self.claimant.watched = None;
        if self.needs_number {
            self.claim_number(store).await?;
            self.needs_number = false;
        }
        Ok(claim(store, &self.claimant, past, &self.watch, &SystemClock).await?)
    }

    async fn claim_number(&mut self, store: &Store) -> Result<(), Failure> {
        let claimant = &mut self.claimant;
        let parent = claimant.timeline.parent.ok_or_else(|| Failure {
            message: "a restored directory without a parent timeline; restore again".to_owned(),
            exit: Exit::Integrity,
            retry: false,
        })?;
        let request = TimelineRequest {
            cluster: claimant.cluster,
            node: claimant.node,
            claimed: claimant.claimed,
            parent,
            reason: TimelineReason::Restored,
            clock_offset_ms: claimant.timeline.clock_offset_ms,
            takeover: claimant.takeover,
        };
        match claim_timeline(store, &request, &self.watch, &SystemClock).await {
            Ok(ClaimedTimeline { document, watched }) => {
                claimant.watched = watched;
                claimant.timeline.timeline = document.timeline;
                claimant.timeline.id = document.id;
                Ok(())
            }
            Err(ClaimError::Read(ReadError::Store(error))) if error.kind() == StoreErrorKind::NotFound => {
                if claimant.archived > Lsn::ZERO {
                    return Err(
                        ClaimError::ArchiveGone { store: store.to_string(), archived: claimant.archived }.into()
                    );
                }
                begin_own_archive(store, parent, claimant)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A store that takes connections and says nothing is away too.
async fn probe(store: &Store) -> Result<(), Failure> {
    match tokio::time::timeout(PROBE_PATIENCE, store.probe()).await {
        Ok(probed) => Ok(probed?),
        Err(_elapsed) => Err(Failure {
            message: format!("{store} has not answered within {} s", PROBE_PATIENCE.as_secs()),
            exit: Exit::Unreachable,
            retry: true,
        }),
    }
}

/// A restored directory whose archive is empty begins one of its own: the number after its parent's is free there.
fn begin_own_archive(store: &Store, parent: ForkPoint, claimant: &mut Claimant) -> Result<(), Failure> {
    let timeline = parent.timeline.next().ok_or_else(|| Failure {
        message: format!("timeline {} is the last one that has a number", parent.timeline),
        exit: Exit::Integrity,
        retry: false,
    })?;
    tracing::warn!(
        archive = %store, lsn = %parent.lsn,
        "this archive is empty, so the restored database begins its own here; what was before this LSN stays in the \
         archive that it was restored from (name that one with --archive to go on in it)"
    );
    claimant.timeline.timeline = timeline;
    claimant.timeline.id = Uuid::new_v4();
    Ok(())
}

/// A claim that did not come about.
#[derive(Debug)]
pub(in crate::database) struct Failure {
    /// What happened and what to do.
    pub(in crate::database) message: String,
    pub(in crate::database) exit: Exit,
    /// Whether the same may succeed later.
    pub(in crate::database) retry: bool,
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Self {
        let (exit, retry) = match &error {
            ProbeError::Store(error) => store_exit(error),
            _ => (Exit::Critical, false),
        };
        Self { message: error.to_string(), exit, retry }
    }
}

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Self {
        let (exit, retry) = match &error {
            ClaimError::Store(error) => store_exit(error),
            ClaimError::Read(error) | ClaimError::Epochs(EpochsError::Read(error)) => read_exit(error),
            ClaimError::LiveHolder(_) | ClaimError::Superseded { .. } | ClaimError::LostRace { .. } => {
                (Exit::Held, false)
            }
            ClaimError::Contended { .. } => (Exit::Held, true),
            ClaimError::ArchiveGone { .. } => (Exit::Unreachable, true),
            ClaimError::Local(_) | ClaimError::Document(_) => (Exit::Critical, false),
            _ => (Exit::Integrity, false),
        };
        let message = if is_damage(&error) {
            format!(
                "{error}; nothing here was changed: put back a good copy of it from a replica of the bucket or an older object \
                 version (`reddb verify` says what else is damaged), or begin a new archive in an empty place (--archive URL \
                 --new-archive)"
            )
        } else {
            error.to_string()
        };
        Self { message, exit, retry }
    }
}

/// Whether a document that every writer reads is not what was written.
const fn is_damage(error: &ClaimError) -> bool {
    match error {
        ClaimError::Read(error) | ClaimError::Epochs(EpochsError::Read(error)) => {
            matches!(error, ReadError::Document { .. })
        }
        ClaimError::Epochs(error) => !matches!(error, EpochsError::Stranger { .. }),
        _ => false,
    }
}

fn read_exit(error: &ReadError) -> (Exit, bool) {
    match error {
        ReadError::Store(error) => store_exit(error),
        _ => (Exit::Integrity, false),
    }
}

fn store_exit(error: &StoreError) -> (Exit, bool) {
    match error.kind() {
        StoreErrorKind::Retry => (Exit::Unreachable, true),
        StoreErrorKind::Integrity => (Exit::Integrity, false),
        StoreErrorKind::NotFound | StoreErrorKind::Conflict | StoreErrorKind::Configuration | StoreErrorKind::Local => {
            (Exit::Unreachable, false)
        }
    }
}

fn fork_point(timeline: TimelineId, mark: Mark) -> ForkPoint {
    ForkPoint { timeline, lsn: mark.lsn, chain: mark.chain }
}

/// Who this is, for people.
fn holder() -> Text {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "unknown host".to_owned());
    let host: String = host.trim().chars().filter(|found| !found.is_control()).take(64).collect();
    let text = format!("{host}, process {}", std::process::id());
    Text::new(text).unwrap_or_else(|_| Text::new("a reddb server").expect("a short plain text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_archive_comes_with_the_ways_out() {
        let damaged = Failure::from(ClaimError::Epochs(EpochsError::Missing { epoch: Epoch::new(1) }));
        assert_eq!(damaged.exit, Exit::Integrity);
        assert!(!damaged.retry);
        for way in ["put back a good copy", "reddb verify", "--new-archive"] {
            assert!(damaged.message.contains(way), "{}", damaged.message);
        }
        let stranger = EpochsError::Stranger { key: "epochs/notes.txt".to_owned() };
        let strange = Failure::from(ClaimError::Epochs(stranger));
        assert_eq!(strange.exit, Exit::Integrity);
        assert!(!strange.message.contains("--new-archive"), "{}", strange.message);
    }
}
