//! The settings of one database: one typed struct, one place for defaults.

use std::path::PathBuf;
use std::time::Duration;

/// The settings of [`crate::database::Database::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The data directory; created where it does not exist.
    pub dir: PathBuf,
    /// Where the archive is.
    pub archive: ArchiveConfig,
    /// What caches, memtables and buffers may take together, in bytes.
    pub memory_bytes: u64,
    /// The size of a log segment, in bytes: a multiple of 4096.
    pub wal_segment_bytes: u64,
    /// The local log may take so many bytes while the archive does not take it; then writes are refused.
    pub wal_local_bytes_max: u64,
    /// Writes are refused while the data directory's disk has fewer free bytes than this.
    pub disk_reserve_bytes: u64,
    /// Writes are refused when the wall clock runs ahead of the time that has passed by more than this.
    pub clock_jump_max: Duration,
    /// How often a snapshot is made by itself; `None` for never.
    pub snapshot_interval: Option<Duration>,
    /// Go on even where another writer seems to be alive on the archive.
    pub takeover: bool,
    /// Begin a new archive where the place is empty, although this log was archived before.
    pub new_archive: bool,
}

/// Where and how to archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// `file://`, `s3://`, `gs://`, `az://` or `memory://`; `None` for `file://<dir>/archive`.
    pub url: Option<String>,
    /// How long a commit waits for others before it is shipped with them.
    pub interval: Duration,
    /// The plain bytes of records in one archived segment, at most.
    pub segment_bytes_max: u64,
    /// The zstd level of archived segments.
    pub compression_level: i32,
    /// The store's endpoint, e.g. of an S3-compatible service; `None` for the provider's own.
    pub endpoint: Option<String>,
    /// The region of an S3 store.
    pub region: Option<String>,
    /// `http://bucket.host/…` instead of `http://host/bucket/…`.
    pub virtual_hosted: bool,
    /// Allow an endpoint without TLS.
    pub allow_http: bool,
    /// An S3 credentials file; `None` for the environment and the usual places.
    pub credentials_file: Option<PathBuf>,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            url: None,
            interval: Duration::from_secs(1),
            segment_bytes_max: 8 * MIB,
            compression_level: 1,
            endpoint: None,
            region: None,
            virtual_hosted: false,
            allow_http: false,
            credentials_file: None,
        }
    }
}

const MIB: u64 = 1024 * 1024;

impl Config {
    /// The defaults, for a data directory and a memory budget.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, memory_bytes: u64) -> Self {
        Self {
            dir: dir.into(),
            archive: ArchiveConfig::default(),
            memory_bytes,
            wal_segment_bytes: 32 * MIB,
            wal_local_bytes_max: 8 * 1024 * MIB,
            disk_reserve_bytes: 256 * MIB,
            clock_jump_max: Duration::from_hours(24),
            snapshot_interval: Some(Duration::from_hours(24)),
            takeover: false,
            new_archive: false,
        }
    }

    /// The archive's URL, the default filled in.
    ///
    /// # Errors
    /// Where the data directory's absolute path cannot be found, as where it is given with `..` and does not exist.
    pub fn archive_url(&self) -> std::io::Result<String> {
        if let Some(url) = &self.archive.url {
            return Ok(url.clone());
        }
        // A URL says where something is without going back; links are left as they were named where that is possible.
        let goes_back = self.dir.components().any(|part| part == std::path::Component::ParentDir);
        let dir = if goes_back { self.dir.canonicalize()? } else { std::path::absolute(&self.dir)? };
        Ok(format!("file://{}", dir.join("archive").display()))
    }

    /// The size of a log segment: small enough that several fit into the local log's limit.
    #[must_use]
    pub(crate) fn wal_segment_bytes_fitting(&self) -> u64 {
        let fitting = (self.wal_local_bytes_max / 8).max(MIB) / 4096 * 4096;
        self.wal_segment_bytes.min(fitting)
    }
}

/// A quarter of the machine's memory, or of what a control group allows, whichever is less; 256 MiB where neither is known.
#[must_use]
pub(crate) fn default_memory_bytes() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim();
        line.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    match (total, group) {
        (Some(total), Some(group)) => u64::min(total, group) / 4,
        (Some(known), None) | (None, Some(known)) => known / 4,
        (None, None) => 256 * MIB,
    }
}
