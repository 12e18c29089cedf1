//! PostgreSQL with pgBackRest: a table of the same rows, backed up and restored as its operators do it.
//!
//! PostgreSQL refuses to run as root: where this program does, it runs as the user `postgres`. Settings are the defaults, but
//! for the log's archiving through pgBackRest, checkpoints at once when a backup begins, and lz4 instead of gzip.

use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, geteuid};

use crate::bench::guard::{self, Guarded};
use crate::bench::load::{Dataset, key, value};
use crate::bench::peers::{free_address, wait_for};

/// The server's program.
pub(crate) const SERVER: &str = "postgres";
/// The program that backs it up.
pub(crate) const BACKUP: &str = "pgbackrest";

/// Where Debian keeps the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";
const USER: &str = "postgres";
const STANZA: &str = "--stanza=bench";

/// The path of one of PostgreSQL's programs: the newest of Debian's, or whatever the system finds by its name.
pub(crate) fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().filter_map(Result::ok);
    let found = versions.filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let path = version.path().join("bin").join(name);
        path.is_file().then_some((number, path))
    });
    found.max().map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

/// A database, its archive and its backups, below one directory.
#[derive(Debug)]
pub(crate) struct Postgres {
    place: PathBuf,
    address: SocketAddr,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server(Guarded);

impl Server {
    /// Ends it in order.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn stop(self) -> Result<(), String> {
        // Fast shutdown: it does not wait for clients.
        self.0.stop(Signal::INT).map(drop)
    }
}

impl Postgres {
    /// Makes an empty database in `place`, which it makes, too.
    ///
    /// # Errors
    /// A program failed, or the directory cannot be handed to the user that it has to belong to.
    pub(crate) fn make(place: &Path) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("cannot prepare {}: {error}", place.display());
        std::fs::create_dir_all(place).map_err(fault)?;
        if geteuid().is_root() {
            // The run's directories are closed to others: they open for passing through.
            for folder in place.ancestors().skip(1).take(2) {
                std::fs::set_permissions(folder, PermissionsExt::from_mode(0o711)).map_err(fault)?;
            }
            guard::capture(Command::new("chown").arg(USER).arg(place))?;
        }
        let postgres = Self { place: place.to_owned(), address: free_address()? };
        let data = postgres.data();
        let mut initdb = postgres.command(&program("initdb"));
        guard::capture(
            initdb.args(["--auth=trust", "--username=postgres", "--data-checksums", "--pgdata"]).arg(&data),
        )?;
        postgres.configure()?;
        Ok(postgres)
    }

    /// Where the database is.
    pub(crate) fn data(&self) -> PathBuf {
        self.place.join("data")
    }

    /// Where the backups are.
    pub(crate) fn backups(&self) -> PathBuf {
        self.place.join("repository").join("backup")
    }

    /// Starts a server on a directory and waits until it answers.
    ///
    /// # Errors
    /// It did not come up.
    pub(crate) fn start(&self, data: &Path) -> Result<Server, String> {
        let mut command = self.command(&program(SERVER));
        let mut process = Guarded::start(command.arg("-D").arg(data), &self.place.join("postgres.log"))?;
        wait_for(&mut process, || self.query("SELECT 1").ok())?;
        Ok(Server(process))
    }

    /// Makes the table and tells pgBackRest about the database.
    ///
    /// # Errors
    /// A program failed.
    pub(crate) fn begin(&self) -> Result<(), String> {
        self.query("CREATE TABLE items (key text PRIMARY KEY, value text NOT NULL)")?;
        self.backrest(&["stanza-create"])
    }

    /// Adds the rows of a dataset.
    ///
    /// # Errors
    /// A program failed, or the rows cannot be written to a file.
    pub(crate) fn fill(&self, data: Dataset) -> Result<(), String> {
        let path = self.place.join("rows");
        let fault = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        let mut rows = BufWriter::new(std::fs::File::create(&path).map_err(fault)?);
        for number in data.first..data.first + data.count {
            let value = value(number, data.value_bytes);
            writeln!(rows, "{}\t{}", key(number), String::from_utf8_lossy(&value)).map_err(fault)?;
        }
        rows.flush().map_err(fault)?;
        drop(rows);
        self.query(&format!("\\copy items FROM '{}'", path.display()))?;
        std::fs::remove_file(&path).map_err(fault)
    }

    /// Takes a backup: `full` or `incr`.
    ///
    /// # Errors
    /// It failed.
    pub(crate) fn backup(&self, kind: &str) -> Result<(), String> {
        self.backrest(&["backup", &format!("--type={kind}")])
    }

    /// Restores the newest state into a directory.
    ///
    /// # Errors
    /// It failed.
    pub(crate) fn restore(&self, into: &Path) -> Result<(), String> {
        guard::capture(self.command(Path::new("mkdir")).args(["--mode=700"]).arg(into))?;
        self.backrest(&["restore", &format!("--pg1-path={}", into.display())])
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) fn count(&self) -> Result<u64, String> {
        let text = self.query("SELECT count(*) FROM items")?;
        text.trim().parse().map_err(|_| format!("no number: {text}"))
    }

    fn configure(&self) -> Result<(), String> {
        let place = self.place.display();
        let settings = format!(
            "listen_addresses = '{}'\nport = {}\nunix_socket_directories = '{place}'\narchive_mode = on\n\
             archive_command = '{BACKUP} --config={place}/{BACKUP}.conf {STANZA} archive-push %p'\n",
            self.address.ip(),
            self.address.port(),
        );
        let backrest = format!(
            "[global]\nrepo1-path={place}/repository\nlog-path={place}/log\nlock-path={place}/lock\n\
             spool-path={place}/spool\nstart-fast=y\ncompress-type=lz4\n[bench]\npg1-path={place}/data\n\
             pg1-port={}\npg1-socket-path={place}\npg1-user=postgres\n",
            self.address.port(),
        );
        let put = |path: PathBuf, text: String, append: bool| {
            let file = std::fs::File::options().create(true).append(append).write(true).open(&path);
            let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(|error| format!("cannot write {}: {error}", path.display()))
        };
        put(self.data().join("postgresql.conf"), settings, true)?;
        put(self.place.join(format!("{BACKUP}.conf")), backrest, false)
    }

    fn backrest(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = self.command(Path::new(BACKUP));
        command.arg(format!("--config={}/{BACKUP}.conf", self.place.display())).arg(STANZA);
        guard::capture(command.args(arguments)).map(drop)
    }

    fn query(&self, text: &str) -> Result<String, String> {
        let mut command = self.command(&program("psql"));
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username=postgres"]);
        command.args(["--host", &self.address.ip().to_string(), "--port", &self.address.port().to_string()]);
        guard::capture(command.args(["--dbname=postgres", "--command", text]))
    }

    /// A command of the user that PostgreSQL runs as, in the one directory that is this user's.
    fn command(&self, program: &Path) -> Command {
        let mut command = if geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.place);
        command
    }
}
