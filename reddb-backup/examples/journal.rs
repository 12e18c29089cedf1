//! Archives something that is not RedDB, a journal of lines in memory, and restores it to a moment before a mistake.
//!
//! ```sh
//! cargo run -p reddb-backup --example journal -- [ARCHIVE URL]
//! ```
//!
//! The journal implements the three traits of `reddb_backup::source`, and what restores it `reddb_backup::restore`'s one;
//! everything else is the library's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use reddb_backup::claim::{Claimant, LocalTimeline, Takeover, WatchSettings, claim};
use reddb_backup::clock::{Clock, SystemClock};
use reddb_backup::history::read::read;
use reddb_backup::history::{Base, History};
use reddb_backup::plan::{Request, Target, plan};
use reddb_backup::progress::Silent;
use reddb_backup::restore::{BaseMark, RestoreOptions, RestoreSink, RestoredMark, StagedDirectory, restore};
use reddb_backup::ship::{Archiver, ArchiverParts, ArchiverSettings};
use reddb_backup::source::{Checkpoint, CheckpointFile, CheckpointSource, Fence, LocalHistory, LogSource, SourceError};
use reddb_backup::store::{OpenMode, Store, StoreSettings};
use reddb_backup::verify::{VerifyOptions, verify};
use reddb_file::archive::{MissingDigest, RecordRun, Text};
use reddb_file::mark::TimedMark;
use reddb_file::record::{RecordView, encode_parts};
use reddb_file::{ClusterId, Epoch, Lsn, NodeId, RecordKind, TimelineId};
use uuid::Uuid;

/// Each line is a record: its bytes, and where the log stands after it.
struct Journal {
    base: TimedMark,
    lines: Mutex<Vec<(Bytes, TimedMark)>>,
}

impl Journal {
    fn new(cluster: ClusterId) -> Self {
        Self { base: TimedMark::genesis(cluster), lines: Mutex::default() }
    }

    fn write(&self, line: &str) -> Result<(), SourceError> {
        let mut lines = self.lines.lock();
        let last = lines.last().map_or(self.base, |(_, mark)| *mark);
        let lsn = last.lsn.next().ok_or("the journal is full")?;
        // Times never go back, whatever the clock does.
        let time_ms = SystemClock.now_ms().max(last.time_ms);
        let mut record = Vec::new();
        encode_parts(lsn, time_ms, RecordKind::Changes, line.as_bytes(), &mut record)?;
        let mark = TimedMark { lsn, chain: last.chain.extend(&record), time_ms };
        lines.push((record.into(), mark));
        Ok(())
    }
}

impl LogSource for Journal {
    fn durable(&self) -> TimedMark {
        self.lines.lock().last().map_or(self.base, |(_, mark)| *mark)
    }

    fn fence(&self) -> Result<Fence, SourceError> {
        let mark = self.durable();
        Ok(Fence { mark, complete_until_ms: mark.time_ms.saturating_sub(1) })
    }

    fn read(&self, from: Lsn, to: Lsn, bytes_max: u64) -> Result<Bytes, SourceError> {
        let mut run: Vec<u8> = Vec::new();
        for (record, mark) in self.lines.lock().iter().filter(|(_, mark)| mark.lsn >= from && mark.lsn <= to) {
            if !run.is_empty() && (run.len() + record.len()) as u64 > bytes_max {
                break;
            }
            println!("  shipping {}", mark.lsn);
            run.extend_from_slice(record);
        }
        Ok(run.into())
    }

    fn archived(&self, mark: TimedMark) -> Result<(), SourceError> {
        println!("  the archive holds everything up to {}; these lines could be forgotten now", mark.lsn);
        Ok(())
    }
}

impl LocalHistory for Journal {
    fn mark_at(&self, lsn: Lsn) -> Result<Option<TimedMark>, SourceError> {
        Ok(self.lines.lock().iter().map(|(_, mark)| *mark).find(|mark| mark.lsn == lsn))
    }
}

impl CheckpointSource for Journal {
    fn checkpoint(&self, into: &Path) -> Result<Checkpoint, SourceError> {
        // Under the lock, so that the mark and the file are of one moment.
        let lines = self.lines.lock();
        let mark = lines.last().map_or(self.base, |(_, mark)| *mark);
        let content: Vec<u8> = lines.iter().flat_map(|(record, _)| record.to_vec()).collect();
        std::fs::write(into.join("journal"), content)?;
        Ok(Checkpoint {
            mark,
            files: vec![CheckpointFile { path: "journal".parse()?, written_xxh3: None }],
            engine: Text::new("example-journal")?,
            engine_version: Text::new("1")?,
            engine_format_version: 1,
        })
    }
}

/// What a restore is handed to: it collects the lines again.
#[derive(Default)]
struct Lines {
    root: PathBuf,
    lines: Vec<String>,
}

impl Lines {
    fn take(&mut self, mut records: &[u8]) -> Result<(), SourceError> {
        while !records.is_empty() {
            let record = RecordView::decode(records)?;
            self.lines.push(String::from_utf8(record.payload.to_vec())?);
            records = &records[record.bytes.len()..];
        }
        Ok(())
    }
}

impl RestoreSink for Lines {
    fn open_base(&mut self, staged: &StagedDirectory, base: &BaseMark) -> Result<(), SourceError> {
        println!("  the base is in place: LSN {}", base.mark.lsn);
        self.root = staged.root().to_owned();
        match &base.base {
            // No snapshot lies before what is restored: every line comes from the log.
            Base::Genesis => Ok(()),
            Base::Snapshot(_) => self.take(&std::fs::read(staged.base().join("journal"))?),
        }
    }

    fn apply(&mut self, records: &RecordRun) -> Result<(), SourceError> {
        println!("  proved and applied: LSN {} to {}", records.first_lsn(), records.last_lsn());
        self.take(records.bytes())
    }

    fn finish(&mut self, _: &RestoredMark) -> Result<(), SourceError> {
        Ok(std::fs::write(self.root.join("lines.txt"), self.lines.join("\n"))?)
    }
}

/// Verifies the archive, then restores what `point` names into `into` and shows it.
async fn restore_to(store: &Store, point: &str, into: &Path) -> Result<(), SourceError> {
    let report = verify(store, &VerifyOptions::default()).await?;
    println!("verified {} records and {} files: {} faults", report.records, report.files.objects, report.faults.len());

    let contents = read(store, MissingDigest::Refuse, &Silent::shared()).await?;
    let plan = plan(&History::conclude(contents), &Request::new(Target::Label(point.parse()?)))?;
    println!("{plan}");
    let (report, _) = restore(store, plan, RestoreOptions::new(into), Lines::default()).await?;
    println!("restored LSN {} with {} records, chain {}:", report.mark.lsn, report.records, report.mark.chain);
    for line in std::fs::read_to_string(into.join("lines.txt"))?.lines() {
        println!("  {line}");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), SourceError> {
    let scratch = std::env::temp_dir().join(format!("reddb-example-{}", Uuid::new_v4()));
    let url = std::env::args().nth(1).unwrap_or_else(|| format!("file://{}/archive", scratch.display()));

    // A store that keeps its promises, and an archive that is ours.
    let store = Store::open(&url.parse()?, &StoreSettings::default(), OpenMode::Create)?;
    store.probe().await?;
    let cluster = ClusterId::from_bytes(*Uuid::new_v4().as_bytes());
    let journal = Arc::new(Journal::new(cluster));
    journal.write("a line from before the archive")?;
    let claimant = Claimant {
        cluster,
        node: NodeId::from_bytes(*Uuid::new_v4().as_bytes()),
        holder: Text::new("the example")?,
        timeline: LocalTimeline { timeline: TimelineId::FIRST, parent: None, id: Uuid::new_v4(), clock_offset_ms: 0 },
        durable: journal.durable(),
        oldest: journal.base,
        archived: Lsn::ZERO,
        claimed: Epoch::ZERO,
        takeover: Takeover::Refuse,
        watched: None,
    };
    let claim = claim(&store, &claimant, &*journal, &WatchSettings::default(), &SystemClock).await?;
    println!("{store}: this process holds epoch {}", claim.epoch);

    // From here on lines are shipped by themselves. With a snapshot now and then a restore has less to replay.
    let (archiver, task) = Archiver::start(ArchiverParts {
        store: store.clone(),
        claim,
        log: journal.clone(),
        checkpoints: journal.clone(),
        clock: Arc::new(SystemClock),
        settings: ArchiverSettings::new(scratch.join("staging")),
    });
    let snapshot = archiver.snapshot(Text::new("the first one")?, Arc::new(|_| ())).await?;
    println!("snapshot {} at LSN {}: {} bytes", snapshot.id, snapshot.lsn, snapshot.total_bytes);
    for number in 1..=5 {
        journal.write(&format!("line {number}"))?;
    }
    let point = archiver.mark("before-the-damage".parse()?).await?;
    println!("{} names LSN {}, chain {}", point.name, point.lsn, point.chain);
    journal.write("a line that one may wish had never been written")?;

    let report = archiver.shutdown(Duration::from_secs(10)).await?;
    task.await?;
    println!(
        "shut down at LSN {}, {} records missing; the archive holds:",
        report.archived.lsn, report.missing_records
    );
    for object in store.list("").await? {
        println!("{:>8}  {}", object.bytes, object.key);
    }

    std::fs::create_dir_all(&scratch)?;
    restore_to(&store, "before-the-damage", &scratch.join("restored")).await?;
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)?;
    }
    Ok(())
}
