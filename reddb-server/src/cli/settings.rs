//! The settings of `reddb serve`, from four places: flag, environment, configuration file, default — in this order.
//!
//! The file is TOML with the flags' own names (`archive-interval = "5s"`). An unknown name, a value of the wrong type
//! and a file that cannot be read are errors: a typing mistake never becomes a default.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::exit::CliError;
use super::units::{Size, Span, SpanOrNever};
use crate::config::{ArchiveConfig, Config, default_memory_bytes};

/// How much of a configuration or password file is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// A password's length in bytes, at most.
const PASSWORD_BYTES_MAX: usize = 512;
/// The least that the engine and the log's buffers get along with.
const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// A log segment's size: at least, at most, and a multiple of this block.
const WAL_SEGMENT_BYTES_MIN: u64 = 1 << 20;
const WAL_SEGMENT_BYTES_MAX: u64 = 1 << 30;
const WAL_SEGMENT_BYTES_STEP: u64 = 4096;
/// An archived segment's plain records, at least and at most.
const ARCHIVE_SEGMENT_BYTES_MIN: u64 = 64 << 10;
const ARCHIVE_SEGMENT_BYTES_MAX: u64 = reddb_file::limits::ARCHIVE_SEGMENT_RECORD_BYTES_MAX as u64;
/// The levels that zstd knows.
const COMPRESSION_LEVELS: std::ops::RangeInclusive<i32> = 1..=19;

/// Where the data is by default.
pub(crate) const DIR_DEFAULT: &str = "./reddb-data";
/// The data port by default.
pub(crate) const LISTEN_DEFAULT: &str = "127.0.0.1:6379";
/// The admin port by default.
pub(crate) const ADMIN_DEFAULT: &str = "127.0.0.1:6380";
/// How many clients at once, by default.
pub(crate) const CLIENTS_MAX_DEFAULT: u32 = 10_000;

/// `reddb serve`: what one place says. Every value is optional, because another place may give it.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ServeArgs {
    /// The data directory; made where it does not exist [default: ./reddb-data]
    #[arg(long, value_name = "DIR", env = "REDDB_DIR")]
    pub dir: Option<PathBuf>,
    /// The data port, for Redis clients [default: 127.0.0.1:6379]
    #[arg(long, value_name = "ADDR", env = "REDDB_LISTEN", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// The admin port, for HTTP [default: 127.0.0.1:6380]
    #[arg(long, value_name = "ADDR", env = "REDDB_ADMIN_LISTEN", value_parser = address)]
    pub admin: Option<SocketAddr>,
    /// Listen beyond this machine although nothing on the wire is encrypted
    #[arg(long, env = "REDDB_INSECURE_LISTEN", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure_listen: Option<bool>,
    /// A file whose first line is the password that clients must give (or set REDDB_PASSWORD)
    #[arg(long, value_name = "FILE", env = "REDDB_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
    /// How many clients may be connected at once [default: 10000]
    #[arg(long, value_name = "N", env = "REDDB_MAXCLIENTS")]
    pub maxclients: Option<u32>,
    /// What caches and buffers may take together [default: a quarter of the machine's memory]
    #[arg(long, value_name = "SIZE", env = "REDDB_MEMORY")]
    pub memory: Option<Size>,
    /// The archive: file:///path, s3://bucket/prefix, gs://…, az://… [default: archive in the data directory, on the same disk]
    #[arg(long, value_name = "URL", env = "REDDB_ARCHIVE")]
    pub archive: Option<String>,
    /// How long a commit waits for others before they are shipped together [default: 1s]
    #[arg(long, value_name = "DURATION", env = "REDDB_ARCHIVE_INTERVAL")]
    pub archive_interval: Option<Span>,
    /// Ship earlier when so many bytes of records wait [default: 8mb]
    #[arg(long, value_name = "SIZE", env = "REDDB_ARCHIVE_SEGMENT_SIZE")]
    pub archive_segment_size: Option<Size>,
    /// The zstd level of archived segments, 1 to 19 [default: 1]
    #[arg(long, value_name = "LEVEL", env = "REDDB_ARCHIVE_COMPRESSION")]
    pub archive_compression: Option<i32>,
    /// The store's endpoint, where it is not the provider's own: an S3-compatible service, an emulator
    #[arg(long, value_name = "URL", env = "REDDB_ARCHIVE_ENDPOINT")]
    pub archive_endpoint: Option<String>,
    /// The region of an S3 store
    #[arg(long, value_name = "NAME", env = "REDDB_ARCHIVE_REGION")]
    pub archive_region: Option<String>,
    /// Name the bucket in the host (bucket.endpoint) instead of the path
    #[arg(long, env = "REDDB_ARCHIVE_VIRTUAL_HOSTED", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub archive_virtual_hosted: Option<bool>,
    /// Allow an endpoint without TLS
    #[arg(long, env = "REDDB_ARCHIVE_ALLOW_HTTP", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub archive_allow_http: Option<bool>,
    /// An S3 credentials file in the usual INI form
    #[arg(long, value_name = "FILE", env = "REDDB_ARCHIVE_CREDENTIALS_FILE")]
    pub archive_credentials_file: Option<PathBuf>,
    /// How often a snapshot is made by itself, or `never` [default: 24h]
    #[arg(long, value_name = "DURATION", env = "REDDB_SNAPSHOT_INTERVAL")]
    pub snapshot_interval: Option<SpanOrNever>,
    /// How much log is kept while the archive does not take it; then writes are refused [default: 8gb]
    #[arg(long, value_name = "SIZE", env = "REDDB_WAL_LOCAL_MAX")]
    pub wal_local_max: Option<Size>,
    /// The size of a log segment, a multiple of 4096 [default: 32mb]
    #[arg(long, value_name = "SIZE", env = "REDDB_WAL_SEGMENT_SIZE")]
    pub wal_segment_size: Option<Size>,
    /// Refuse writes while the disk has less free than this; more than the whole disk is refused [default: 256mb]
    #[arg(long, value_name = "SIZE", env = "REDDB_DISK_RESERVE")]
    pub disk_reserve: Option<Size>,
    /// Refuse writes when the wall clock jumps ahead by more than this, until an operator confirms it [default: 24h]
    #[arg(long, value_name = "DURATION", env = "REDDB_CLOCK_JUMP_MAX")]
    pub clock_jump_max: Option<Span>,
    /// Take over the archive although another writer seems to be alive on it
    #[arg(long, env = "REDDB_TAKEOVER", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub takeover: Option<bool>,
    /// Begin a new archive in an empty place although this directory was archived before; writes wait for its first snapshot
    #[arg(long, env = "REDDB_NEW_ARCHIVE", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub new_archive: Option<bool>,
    /// A TOML file with these flags' names as keys
    #[serde(skip)]
    #[arg(long, value_name = "FILE", env = "REDDB_CONFIG")]
    pub config: Option<PathBuf>,
}

/// What `reddb serve` runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServeSettings {
    /// The database.
    pub database: Config,
    /// The data port.
    pub listen: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
    /// The password that clients of both ports must give.
    pub password: Option<String>,
    /// How many clients at once.
    pub clients_max: u32,
    /// Whether the archive is the default one, on the data's own disk.
    pub archive_is_default: bool,
}

impl ServeArgs {
    /// The settings: these flags (and environment), then the file they name, then the defaults. `password` is the
    /// environment's `REDDB_PASSWORD`.
    ///
    /// # Errors
    /// A [`CliError`] with exit code 3 that names the setting.
    pub(crate) fn resolve(self, password: Option<String>) -> Result<ServeSettings, CliError> {
        let file = match &self.config {
            Some(path) => read_file_settings(path)?,
            None => Self::default(),
        };
        self.or(file).with_defaults(password)
    }

    /// These values, and the other's where there is none.
    fn or(self, other: Self) -> Self {
        Self {
            dir: self.dir.or(other.dir),
            listen: self.listen.or(other.listen),
            admin: self.admin.or(other.admin),
            insecure_listen: self.insecure_listen.or(other.insecure_listen),
            password_file: self.password_file.or(other.password_file),
            maxclients: self.maxclients.or(other.maxclients),
            memory: self.memory.or(other.memory),
            archive: self.archive.or(other.archive),
            archive_interval: self.archive_interval.or(other.archive_interval),
            archive_segment_size: self.archive_segment_size.or(other.archive_segment_size),
            archive_compression: self.archive_compression.or(other.archive_compression),
            archive_endpoint: self.archive_endpoint.or(other.archive_endpoint),
            archive_region: self.archive_region.or(other.archive_region),
            archive_virtual_hosted: self.archive_virtual_hosted.or(other.archive_virtual_hosted),
            archive_allow_http: self.archive_allow_http.or(other.archive_allow_http),
            archive_credentials_file: self.archive_credentials_file.or(other.archive_credentials_file),
            snapshot_interval: self.snapshot_interval.or(other.snapshot_interval),
            wal_local_max: self.wal_local_max.or(other.wal_local_max),
            wal_segment_size: self.wal_segment_size.or(other.wal_segment_size),
            disk_reserve: self.disk_reserve.or(other.disk_reserve),
            clock_jump_max: self.clock_jump_max.or(other.clock_jump_max),
            takeover: self.takeover.or(other.takeover),
            new_archive: self.new_archive.or(other.new_archive),
            config: self.config,
        }
    }

    fn with_defaults(self, password: Option<String>) -> Result<ServeSettings, CliError> {
        let listen = self.listen.unwrap_or(default_address(LISTEN_DEFAULT));
        let admin = self.admin.unwrap_or(default_address(ADMIN_DEFAULT));
        if self.insecure_listen != Some(true) {
            refuse_beyond_loopback("listen", listen)?;
            refuse_beyond_loopback("admin", admin)?;
        }
        if listen == admin && listen.port() != 0 {
            return Err(CliError::usage(format!(
                "--listen and --admin are both {listen}: give each a port of its own"
            )));
        }
        let password = match (password, &self.password_file) {
            (Some(password), _) => Some(check_password(password, "REDDB_PASSWORD")?),
            (None, Some(path)) => Some(read_password(path)?),
            (None, None) => None,
        };
        let clients_max = self.maxclients.unwrap_or(CLIENTS_MAX_DEFAULT);
        if clients_max == 0 {
            return Err(CliError::usage("--maxclients is 0: nobody could connect"));
        }
        let archive_is_default = self.archive.is_none();
        Ok(ServeSettings { database: self.database()?, listen, admin, password, clients_max, archive_is_default })
    }

    fn database(self) -> Result<Config, CliError> {
        let memory_bytes = memory_bytes(self.memory)?;
        let mut config = Config::new(self.dir.unwrap_or_else(|| DIR_DEFAULT.into()), memory_bytes);
        if let Some(Size(bytes)) = self.wal_segment_size {
            if !bytes.is_multiple_of(WAL_SEGMENT_BYTES_STEP) {
                return Err(CliError::usage(format!("--wal-segment-size {bytes} is no multiple of 4096")));
            }
            config.wal_segment_bytes = within("wal-segment-size", bytes, WAL_SEGMENT_BYTES_MIN, WAL_SEGMENT_BYTES_MAX)?;
        }
        if let Some(Size(bytes)) = self.wal_local_max {
            config.wal_local_bytes_max = within("wal-local-max", bytes, 4 * WAL_SEGMENT_BYTES_MIN, u64::MAX)?;
        }
        if let Some(Size(bytes)) = self.disk_reserve {
            config.disk_reserve_bytes = bytes;
        }
        if let Some(Span(jump)) = self.clock_jump_max {
            if jump.is_zero() {
                return Err(CliError::usage("--clock-jump-max is 0: every write would be refused"));
            }
            config.clock_jump_max = jump;
        }
        if let Some(SpanOrNever(interval)) = self.snapshot_interval {
            config.snapshot_interval = interval;
        }
        config.takeover = self.takeover.unwrap_or(config.takeover);
        config.new_archive = self.new_archive.unwrap_or(config.new_archive);
        config.archive = archive_config(
            ArchiveConfig {
                url: self.archive,
                endpoint: self.archive_endpoint,
                region: self.archive_region,
                credentials_file: self.archive_credentials_file,
                virtual_hosted: self.archive_virtual_hosted.unwrap_or_default(),
                allow_http: self.archive_allow_http.unwrap_or_default(),
                ..config.archive
            },
            self.archive_interval,
            self.archive_segment_size,
            self.archive_compression,
        )?;
        Ok(config)
    }
}

fn archive_config(
    mut config: ArchiveConfig,
    interval: Option<Span>,
    segment_size: Option<Size>,
    compression: Option<i32>,
) -> Result<ArchiveConfig, CliError> {
    if let Some(url) = &config.url {
        url.parse::<reddb_backup::store::ArchiveUrl>().map_err(CliError::usage)?;
    }
    if let Some(Span(interval)) = interval {
        if interval.is_zero() {
            return Err(CliError::usage("--archive-interval is 0: write for example 100ms"));
        }
        config.interval = interval;
    }
    if let Some(Size(bytes)) = segment_size {
        config.segment_bytes_max =
            within("archive-segment-size", bytes, ARCHIVE_SEGMENT_BYTES_MIN, ARCHIVE_SEGMENT_BYTES_MAX)?;
    }
    if let Some(level) = compression {
        if !COMPRESSION_LEVELS.contains(&level) {
            return Err(CliError::usage(format!("--archive-compression {level} is not between 1 and 19")));
        }
        config.compression_level = level;
    }
    Ok(config)
}

/// What `--memory` says, or a part of the machine's.
pub(super) fn memory_bytes(given: Option<Size>) -> Result<u64, CliError> {
    match given {
        Some(Size(bytes)) => within("memory", bytes, MEMORY_BYTES_MIN, u64::MAX),
        None => Ok(default_memory_bytes().max(MEMORY_BYTES_MIN)),
    }
}

/// An address and a port, as `--listen` and `--admin` take them.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|error| format!("{error}: write an IP address and a port, for example 127.0.0.1:6379"))
}

fn within(name: &str, bytes: u64, min: u64, max: u64) -> Result<u64, CliError> {
    if bytes < min {
        return Err(CliError::usage(format!("--{name} is {}, the least is {}", Size(bytes), Size(min))));
    }
    if bytes > max {
        return Err(CliError::usage(format!("--{name} is {}, the most is {}", Size(bytes), Size(max))));
    }
    Ok(bytes)
}

fn default_address(text: &str) -> SocketAddr {
    text.parse().expect("the defaults above are addresses")
}

fn refuse_beyond_loopback(flag: &str, address: SocketAddr) -> Result<(), CliError> {
    let ip = match address.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        ip @ IpAddr::V4(_) => ip,
    };
    if ip.is_loopback() {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "--{flag} {address} would let other machines in, and nothing on the wire is encrypted: anyone between could read \
         and change everything"
    ))
    .hint(
        "listen on 127.0.0.1 behind a TLS proxy or an SSH tunnel; or, on a network that you trust, set a password \
         (REDDB_PASSWORD in the environment, or --password-file FILE) and add --insecure-listen",
    ))
}

/// The password on the first line of a file.
///
/// # Errors
/// Where it cannot be read, or holds no usable password.
pub(crate) fn read_password(path: &Path) -> Result<String, CliError> {
    let text = read_text(path, "password file")?;
    let line = text.lines().next().unwrap_or_default();
    check_password(line.to_owned(), &path.display().to_string())
}

fn check_password(password: String, place: &str) -> Result<String, CliError> {
    if password.is_empty() {
        return Err(CliError::usage(format!("{place} holds an empty password: give one, or leave it out altogether")));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(CliError::usage(format!("{place} holds a password of more than {PASSWORD_BYTES_MAX} bytes")));
    }
    if !password.is_ascii() || password.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(CliError::usage(format!("{place} holds a password with other than printable ASCII characters")));
    }
    Ok(password)
}

fn read_file_settings(path: &Path) -> Result<ServeArgs, CliError> {
    let text = read_text(path, "configuration file")?;
    toml::from_str(&text).map_err(|error| {
        CliError::usage(format!("{}: {}", path.display(), error.to_string().trim_end()))
            .hint("the keys are the flags of `reddb serve --help` without the dashes in front")
    })
}

fn read_text(path: &Path, what: &str) -> Result<String, CliError> {
    use std::io::Read as _;
    let failed =
        |error: std::io::Error| CliError::usage(format!("{}: the {what} cannot be read: {error}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(read).is_ok_and(|read| read > FILE_BYTES_MAX) {
        return Err(CliError::usage(format!("{}: the {what} has more than {}", path.display(), Size(FILE_BYTES_MAX))));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use clap::Parser as _;

    use super::super::args::{Cli, Command};
    use super::super::exit::Exit;
    use super::*;

    fn flags(line: &str) -> ServeArgs {
        match Cli::try_parse_from(["reddb", "serve"].into_iter().chain(line.split_whitespace())).expect("flags").command
        {
            Command::Serve(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    fn refusal(args: ServeArgs) -> String {
        let error = args.resolve(None).expect_err("a refusal");
        assert_eq!(error.exit(), Exit::Usage);
        error.to_string()
    }

    #[test]
    fn without_anything_the_defaults_hold() {
        let settings = ServeArgs::default().resolve(None).expect("defaults");
        assert_eq!(settings.listen.to_string(), LISTEN_DEFAULT);
        assert_eq!(settings.admin.to_string(), ADMIN_DEFAULT);
        assert_eq!(settings.database.dir, PathBuf::from(DIR_DEFAULT));
        assert_eq!(settings.database.archive, ArchiveConfig::default());
        assert!(settings.archive_is_default && settings.password.is_none());
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = file("memory = \"1gb\"\narchive-interval = \"5s\"\ntakeover = true\nwal-segment-size = 1048576\n");
        let config = format!("--config {} --memory 2gb --takeover=false", file.path().display());
        let settings = flags(&config).resolve(None).expect("settings").database;
        assert_eq!(settings.memory_bytes, 2 << 30);
        assert_eq!(settings.archive.interval, Duration::from_secs(5));
        assert_eq!(settings.wal_segment_bytes, 1 << 20);
        assert_eq!(settings.wal_local_bytes_max, 8 << 30);
        assert!(!settings.takeover);
    }

    #[test]
    fn the_file_knows_every_flag() {
        let text = "dir = 'd'\nlisten = '127.0.0.1:1'\nadmin = '127.0.0.1:2'\ninsecure-listen = true\nmaxclients = 5\n\
                    memory = '1g'\narchive = 's3://b/p'\narchive-interval = '2s'\narchive-segment-size = '1m'\n\
                    archive-compression = 3\narchive-endpoint = 'http://e'\narchive-region = 'r'\n\
                    archive-virtual-hosted = true\narchive-allow-http = true\narchive-credentials-file = 'c'\n\
                    snapshot-interval = 'never'\nwal-local-max = '1g'\nwal-segment-size = '8m'\ndisk-reserve = 0\n\
                    clock-jump-max = '1h'\ntakeover = true\nnew-archive = true\n";
        let file = file(text);
        let args = ServeArgs { config: Some(file.path().into()), ..ServeArgs::default() };
        let settings = args.resolve(None).expect("settings");
        assert_eq!(settings.clients_max, 5);
        assert_eq!(settings.database.disk_reserve_bytes, 0);
        assert_eq!(settings.database.snapshot_interval, None);
        assert_eq!(settings.database.archive.compression_level, 3);
        assert_eq!(settings.database.archive.credentials_file, Some("c".into()));
        assert!(!settings.archive_is_default);
    }

    #[test]
    fn unreadable_files_and_unknown_keys_are_errors() {
        for (text, word) in [
            ("archive-intervall = '1s'", "archive-intervall"),
            ("archive_interval = '1s'", "archive_interval"),
            ("memory = 'much'", "much"),
            ("memory = -1", "size"),
            ("archive-interval = 5", "string"),
            ("listen = 6379", "invalid type"),
            ("takeover = 'yes'", "invalid type"),
            ("memory = ", "memory"),
            ("config = 'other'", "config"),
            ("[serve]\n", "serve"),
        ] {
            let file = file(text);
            let text = refusal(ServeArgs { config: Some(file.path().into()), ..ServeArgs::default() });
            assert!(text.contains(word), "{text}");
        }
        let text = refusal(ServeArgs { config: Some("/nonexistent/reddb.toml".into()), ..ServeArgs::default() });
        assert!(text.contains("/nonexistent/reddb.toml"), "{text}");
    }

    #[test]
    fn listening_beyond_loopback_must_be_asked_for() {
        for line in ["--listen 0.0.0.0:6379", "--admin [::]:1", "--listen 192.0.2.1:1", "--listen [::ffff:10.0.0.1]:1"]
        {
            let text = refusal(flags(line));
            assert!(text.contains("--insecure-listen"), "{text}");
            flags(&format!("{line} --insecure-listen")).resolve(None).expect("asked for");
        }
        for line in ["--listen 127.5.0.1:1", "--listen [::1]:1", "--listen [::ffff:127.0.0.1]:1"] {
            flags(line).resolve(None).expect("loopback");
        }
    }

    #[test]
    fn impossible_settings_are_refused() {
        for line in [
            "--listen 127.0.0.1:5 --admin 127.0.0.1:5",
            "--maxclients 0",
            "--memory 1m",
            "--wal-segment-size 1048577",
            "--wal-segment-size 4096",
            "--wal-local-max 1",
            "--archive-interval 0s",
            "--archive-compression 20",
            "--archive-segment-size 1",
            "--clock-jump-max 0s",
            "--archive /no/url",
            "--archive s3://key:secret@bucket/p",
            "--password-file /nonexistent",
        ] {
            refusal(flags(line));
        }
    }

    #[test]
    fn a_password_comes_from_the_environment_or_a_files_first_line() {
        let file = file("sesame\nnot this\n");
        let args = ServeArgs { password_file: Some(file.path().into()), ..ServeArgs::default() };
        assert_eq!(args.clone().resolve(None).expect("file").password.as_deref(), Some("sesame"));
        assert_eq!(args.resolve(Some("open".into())).expect("environment").password.as_deref(), Some("open"));
        for bad in ["", "caf\u{e9}", "a\tb"] {
            assert!(ServeArgs::default().resolve(Some(bad.into())).is_err(), "{bad:?}");
        }
    }
}
