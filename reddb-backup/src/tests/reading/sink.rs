//! A sink whose state is the log itself: the journal's checkpoints hold it, records are appended, and it can be compared.

use std::path::PathBuf;

use reddb_file::archive::RecordRun;
use reddb_file::{Lsn, TimedMark};

use crate::history::{Base, History};
use crate::plan::{Plan, PlanError, Request, plan};
use crate::restore::{
    BaseMark, RestoreError, RestoreOptions, RestoreReport, RestoreSink, RestoredMark, StagedDirectory, restore,
};
use crate::source::SourceError;
use crate::store::Store;

/// The name of the file that holds the whole log in a restored directory.
pub(super) const LOG: &str = "log";

/// What a sink may be told to do wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Misbehaviour {
    #[default]
    None,
    RefuseBase,
    RefuseRecords,
    RefuseEnd,
}

#[derive(Debug, Default)]
pub(super) struct LogSink {
    pub(super) misbehaviour: Misbehaviour,
    pub(super) log: Vec<u8>,
    pub(super) at: Option<TimedMark>,
    pub(super) root: PathBuf,
}

impl RestoreSink for LogSink {
    fn open_base(&mut self, staged: &StagedDirectory, base: &BaseMark) -> Result<(), SourceError> {
        if self.misbehaviour == Misbehaviour::RefuseBase {
            return Err("refused".into());
        }
        self.at = Some(base.mark);
        self.root = staged.root().to_owned();
        if base.base == Base::Genesis {
            assert_eq!(base.mark, TimedMark::genesis(base.cluster));
            assert_eq!(std::fs::read_dir(staged.base())?.count(), 0, "the base's directory is there, and empty");
            return Ok(());
        }
        let current: Lsn = std::fs::read_to_string(staged.base().join("current"))?.parse()?;
        assert_eq!(current, base.mark.lsn, "a snapshot's bytes are those of its LSN");
        let mut tables: Vec<_> = match std::fs::read_dir(staged.base().join("tables")) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        tables.sort();
        for table in tables {
            self.log.extend(std::fs::read(table)?);
        }
        Ok(())
    }

    fn apply(&mut self, records: &RecordRun) -> Result<(), SourceError> {
        if self.misbehaviour == Misbehaviour::RefuseRecords {
            return Err("refused".into());
        }
        let at = self.at.expect("the base comes first");
        assert_eq!((Some(records.first_lsn()), records.chain_before()), (at.lsn.next(), at.chain));
        self.log.extend_from_slice(records.bytes());
        let (lsn, chain, time_ms) = (records.last_lsn(), records.chain_after(), records.last_time_ms());
        self.at = Some(TimedMark { lsn, chain, time_ms });
        Ok(())
    }

    fn finish(&mut self, end: &RestoredMark) -> Result<(), SourceError> {
        if self.misbehaviour == Misbehaviour::RefuseEnd {
            return Err("refused".into());
        }
        assert_eq!(Some(end.mark), self.at);
        std::fs::write(self.root.join(LOG), &self.log)?;
        Ok(())
    }
}

/// Why there is no restored directory.
#[derive(Debug)]
pub(super) enum Refused {
    Plan(PlanError),
    Restore(RestoreError),
}

/// A restored directory.
pub(super) struct Restored {
    pub(super) report: RestoreReport,
    pub(super) log: Vec<u8>,
}

impl Restored {
    /// The LSN of the snapshot it started from; none for genesis.
    pub(super) fn snapshot_lsn(&self) -> Option<u64> {
        self.report.base.snapshot().map(|snapshot| snapshot.lsn.get())
    }
}

/// Carries a plan out in a directory of its own, and checks that a failure leaves nothing there.
pub(super) async fn carry_out(store: &Store, plan: Plan, sink: LogSink) -> Result<Restored, RestoreError> {
    let parent = tempfile::tempdir().unwrap();
    let into = parent.path().join("restored");
    let result = restore(store, plan, RestoreOptions::new(&into), sink).await;
    let left: Vec<_> = std::fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    match result {
        Ok((report, sink)) => {
            assert_eq!(left, ["restored"], "only the target is there");
            let log = std::fs::read(into.join(LOG)).unwrap();
            assert_eq!(log, sink.log);
            let mut inside: Vec<_> =
                std::fs::read_dir(&into).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            inside.sort();
            assert_eq!(inside, ["engine", "lock", LOG], "of the staging only the lock's file is in the target");
            Ok(Restored { report, log })
        }
        Err(error) => {
            assert!(left.is_empty(), "{error}: {left:?} was left behind");
            Err(error)
        }
    }
}

/// Plans and restores.
pub(super) async fn restored(store: &Store, history: &History, request: &Request) -> Result<Restored, Refused> {
    let plan = plan(history, request).map_err(Refused::Plan)?;
    carry_out(store, plan, LogSink::default()).await.map_err(Refused::Restore)
}
