//! Which epochs began, and what they declared void.
//!
//! The same rule as `crate::epochs::Epochs`, which serves writers and stops at the first damage; this one serves readers,
//! who must know all the damage there is.
//!
//! * Epochs are numbered from 1 without holes. Up to the newest one that began, each has a claim and a start.
//! * An epoch ships the timeline that it began on, and nothing else: whatever else carries its number does not count and is
//!   a fault.
//! * Where an epoch's start says `closes`, what older epochs put on that timeline beyond that LSN is void. A segment is
//!   void as a whole if its last record is: the archive had been contiguous up to the closed LSN without it.
//! * Where a start that could hold a `closes` is missing or damaged, what is void cannot be decided, and no restore is
//!   planned: it might bring back what was declared void.

use std::collections::{BTreeMap, BTreeSet};

use reddb_file::archive::{ArchiveKey, EpochOutcome, ForkPoint};
use reddb_file::{Chain, Epoch, Lsn, TimelineId};

use super::contents::{Contents, EpochDocuments, Slot};
use super::fault::{Fault, FaultKind};

/// Where an epoch closed a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The epoch that closed it.
    pub epoch: Epoch,
    /// The last record that counts of what older epochs shipped.
    pub lsn: Lsn,
    /// The chain there.
    pub chain: Chain,
}

/// What the epochs' documents decide.
#[derive(Clone, Debug, Default)]
pub struct Epochs {
    begun: BTreeMap<Epoch, ForkPoint>,
    closings: BTreeMap<TimelineId, Vec<Closing>>,
    /// Why it cannot be decided what is void. Empty in a sound archive.
    pub undecided: Vec<Fault>,
}

impl Epochs {
    /// Reads the epochs' documents; what is wrong with them goes to `faults`.
    pub(super) fn conclude(contents: &Contents, faults: &mut Vec<Fault>) -> Self {
        let mut epochs = Self::default();
        for (epoch, documents) in &contents.epochs {
            let Some(start) = documents.start.present() else { continue };
            if let EpochOutcome::Begins { closes, begins } = start.outcome {
                epochs.begun.insert(*epoch, begins);
                if let Some(closes) = closes {
                    let closing = Closing { epoch: *epoch, lsn: closes.lsn, chain: closes.chain };
                    epochs.closings.entry(closes.timeline).or_default().push(closing);
                }
            }
        }
        epochs.check_numbers(contents, faults);
        let shipped = shipped_epochs(contents);
        for (epoch, documents) in &contents.epochs {
            epochs.check_start(*epoch, documents, shipped.contains(epoch), faults);
        }
        for epoch in shipped.iter().filter(|epoch| !contents.epochs.contains_key(epoch)) {
            let detail = "something was shipped under this epoch, and it has neither claim nor start";
            epochs.undecided.push(Fault::new(FaultKind::ObjectMissing, ArchiveKey::EpochStart(*epoch), detail));
        }
        faults.extend(epochs.undecided.iter().cloned());
        epochs
    }

    fn newest_begun(&self) -> Option<Epoch> {
        self.begun.keys().next_back().copied()
    }

    /// The newest epoch that began, and where its holder's log stood then.
    #[must_use]
    pub fn newest(&self) -> Option<(Epoch, ForkPoint)> {
        self.begun.last_key_value().map(|(epoch, begins)| (*epoch, *begins))
    }

    /// The epochs that began, ascending, and where their holders' logs stood.
    pub fn begun(&self) -> impl DoubleEndedIterator<Item = (Epoch, ForkPoint)> + '_ {
        self.begun.iter().map(|(epoch, begins)| (*epoch, *begins))
    }

    /// Whether `epoch` began.
    #[must_use]
    pub(crate) fn has_begun(&self, epoch: Epoch) -> bool {
        self.begun.contains_key(&epoch)
    }

    /// Whether `epoch` began on `timeline`: only then may it have shipped anything of it.
    #[must_use]
    pub(crate) fn has_begun_on(&self, epoch: Epoch, timeline: TimelineId) -> bool {
        self.begun.get(&epoch).is_some_and(|begins| begins.timeline == timeline)
    }

    /// Where `timeline` was closed, by epoch.
    #[must_use]
    pub(crate) fn closings(&self, timeline: TimelineId) -> &[Closing] {
        self.closings.get(&timeline).map_or(&[], Vec::as_slice)
    }

    /// The timelines that were closed.
    pub(crate) fn closed_timelines(&self) -> impl Iterator<Item = TimelineId> + '_ {
        self.closings.keys().copied()
    }

    /// The closing that makes void what `epoch` put on `timeline` at `lsn`, if one does.
    #[must_use]
    pub(crate) fn voided_by(&self, timeline: TimelineId, epoch: Epoch, lsn: Lsn) -> Option<Closing> {
        self.closings(timeline).iter().find(|closing| closing.epoch > epoch && lsn > closing.lsn).copied()
    }

    /// Every epoch from 1 to the newest that began must be there. The numbers come from keys, so ranges are never walked.
    fn check_numbers(&mut self, contents: &Contents, faults: &mut Vec<Fault>) {
        let newest = self.newest_begun();
        let mut before = Epoch::ZERO;
        for epoch in contents.epochs.keys().copied() {
            if before.next() != Some(epoch) {
                let first = before.next().unwrap_or(before);
                let detail = format!("nothing is left of the epochs from {first} to before {epoch}");
                let fault = Fault::new(FaultKind::ObjectMissing, ArchiveKey::EpochStart(first), detail);
                if newest.is_some_and(|newest| first < newest) {
                    self.undecided.push(fault)
                } else {
                    faults.push(fault)
                }
            }
            before = epoch;
        }
    }

    fn check_start(&mut self, epoch: Epoch, documents: &EpochDocuments, shipped: bool, faults: &mut Vec<Fault>) {
        let key = ArchiveKey::EpochStart(epoch);
        if documents.start.is_damaged() {
            self.undecided.push(Fault::new(
                FaultKind::DocumentDamaged,
                &key,
                "it is damaged: it cannot be decided what this epoch declared void",
            ));
        }
        if documents.claim.is_absent() {
            let detail = "the epoch's start or head is there, its claim is not";
            faults.push(Fault::new(FaultKind::ObjectMissing, ArchiveKey::EpochClaim(epoch), detail));
        }
        if documents.start.is_absent() {
            let superseded = self.newest_begun().is_some_and(|newest| epoch < newest);
            if superseded || shipped {
                let why = if shipped { "it shipped" } else { "a later one began" };
                let detail = format!("the epoch has no start though {why}: what it declared void cannot be decided");
                self.undecided.push(Fault::new(FaultKind::ObjectMissing, &key, detail));
            }
        }
        let (Some(claim), Some(start)) = (documents.claim.present(), documents.start.present()) else { return };
        if let EpochOutcome::Begins { .. } = start.outcome
            && start.token != claim.token
        {
            let detail = "its token is not the claim's: somebody else wrote it";
            self.undecided.push(Fault::new(FaultKind::DocumentDamaged, &key, detail));
        }
    }
}

/// The epochs that anything in the archive was shipped under.
fn shipped_epochs(contents: &Contents) -> BTreeSet<Epoch> {
    let heads = contents.epochs.iter().filter(|(_, documents)| !documents.head.is_absent()).map(|(epoch, _)| *epoch);
    let segments = contents.segments.keys().map(|name| name.epoch);
    let snapshots = contents.snapshots.values().filter_map(Slot::present).map(|snapshot| snapshot.epoch);
    let points = contents.points.values().filter_map(Slot::present).map(|point| point.epoch);
    heads.chain(segments).chain(snapshots).chain(points).collect()
}
