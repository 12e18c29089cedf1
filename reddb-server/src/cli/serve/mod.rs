//! `reddb serve`: one process with a database, a data port and an admin port.
//!
//! ```text
//! bind ▸ open the database ▸ open the data port ▸ addresses.json ▸ … ▸ signal ▸ data port ▸ admin port ▸ database
//! ```
//! Ports are tried before the database is opened, so that a port in use costs nothing. On SIGTERM or SIGINT clients are
//! let finish what they began, the log is shipped, and the process ends with 0; a second signal ends it at once, which
//! loses nothing that was acknowledged. One that comes while the database is being opened ends the process with 0 too: nothing
//! was served, and recovery is made for it.

mod addresses;
mod descriptors;
mod logging;
pub(super) mod signals;
mod welcome;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::addresses::AddressFile;
use self::signals::Signals;
use super::environment;
use super::exit::{CliError, Exit};
use super::settings::{ServeArgs, ServeSettings};
use crate::admin::{Admin, ClientsDocument};
use crate::commit::gate::Condition;
use crate::database::Database;
use crate::session::{Port, PortConfig, PortError, Shared};

/// How long clients may take to finish what they began.
const CLIENT_GRACE: Duration = Duration::from_secs(5);
/// How long requests to the admin port may take to finish.
const ADMIN_GRACE: Duration = Duration::from_secs(2);
/// How long shipping the rest of the log may take; the next start ships what is left.
const SHIP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the operator is told again that nothing can be written any more.
const POISON_REMINDER: Duration = Duration::from_secs(60);

/// Runs the server until a signal ends it.
///
/// # Errors
/// Where the settings are wrong, a port or the directory is in use, or the database cannot be opened or closed.
pub(crate) async fn run(args: ServeArgs, password: Option<String>) -> Result<Exit, CliError> {
    let mut settings = args.resolve(password)?;
    logging::start();
    environment::warn_of_unknown();
    let mut signals = Signals::listen()?;
    descriptors::raise(&mut settings);
    let admin_listener = bind(settings.admin, "admin").await?;
    drop(bind(settings.listen, "listen").await?);
    // Opening may replay a long log; a signal ends it, which recovery is made for.
    let database = tokio::select! {
        opened = Database::open(settings.database.clone()) => opened.map_err(open_error)?,
        () = signals.next() => {
            tracing::info!("stopped before the database was open: nothing was served, and nothing is lost");
            return Ok(Exit::Ok);
        }
    };
    let server = match Server::start(&settings, database.clone(), admin_listener).await {
        Ok(server) => server,
        Err(error) => {
            close(database).await?;
            return Err(error);
        }
    };
    welcome::print(&settings, &database.status(), server.data, server.admin);
    tokio::select! {
        () = signals.next() => {}
        () = remind_of_poison(&database) => {}
    }
    tracing::info!("stopping: clients finish what they began, the log is shipped; a second signal stops at once");
    tokio::select! {
        ended = server.stop(database) => ended.map(|()| Exit::Ok),
        () = signals.another() => {
            Err(CliError::critical("stopped at once by a second signal; the next start recovers from the log"))
        }
    }
}

/// The running ports.
struct Server {
    port: Port,
    data: SocketAddr,
    admin: SocketAddr,
    addresses: AddressFile,
    admin_task: JoinHandle<std::io::Result<()>>,
    admin_stop: oneshot::Sender<()>,
}

impl Server {
    async fn start(settings: &ServeSettings, database: Database, admin: TcpListener) -> Result<Self, CliError> {
        let defaults = PortConfig::default();
        let config = PortConfig {
            unsent_bytes_max: defaults
                .unsent_bytes_max
                .max(usize::try_from(settings.database.memory_bytes).unwrap_or(usize::MAX)),
            listen: vec![settings.listen],
            clients_max: settings.clients_max,
            password: settings.password.clone(),
            ..defaults
        };
        let port = Port::open(config, database.clone()).await.map_err(port_error)?;
        let data = *port.addresses().first().ok_or_else(|| CliError::critical("the data port has no address"))?;
        let admin_address = admin
            .local_addr()
            .map_err(|error| CliError::critical(format!("the admin port has no address: {error}")))?;
        let addresses = AddressFile::write(database.dir(), data, admin_address)?;
        let shared = Arc::clone(port.shared());
        let services = Admin::new(database, settings.password.as_deref(), Arc::new(move || count_clients(&shared)));
        let (admin_stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            // A sender that was dropped stops the port too.
            stopped.await.ok();
        };
        let admin_task = tokio::spawn(services.serve(admin, stopped));
        Ok(Self { port, data, admin: admin_address, addresses, admin_task, admin_stop })
    }

    async fn stop(self, database: Database) -> Result<(), CliError> {
        self.port.close(CLIENT_GRACE).await;
        self.addresses.remove();
        // The receiver is gone only where the port has ended already.
        self.admin_stop.send(()).ok();
        let mut admin_task = self.admin_task;
        if tokio::time::timeout(ADMIN_GRACE, &mut admin_task).await.is_err() {
            admin_task.abort();
        }
        close(database).await
    }
}

async fn close(database: Database) -> Result<(), CliError> {
    database.close(SHIP_TIMEOUT).await.map_err(|error| CliError::critical(format!("not stopped in order: {error}")))?;
    tracing::info!("stopped; everything acknowledged is on disk");
    Ok(())
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, CliError> {
    TcpListener::bind(address).await.map_err(|error| listen_error(address, flag, &error))
}

fn listen_error(address: SocketAddr, flag: &str, error: &std::io::Error) -> CliError {
    let (exit, reason) = match error.kind() {
        ErrorKind::AddrInUse => (Exit::Held, "another server seems to be running there. "),
        ErrorKind::PermissionDenied => (Exit::Usage, "ports below 1024 are mostly kept from ordinary users. "),
        _ => (Exit::Usage, ""),
    };
    CliError::new(exit, format!("cannot listen on {address}: {error}"))
        .hint(format!("{reason}Choose another address with --{flag}; port 0 takes any free one"))
}

fn port_error(error: PortError) -> CliError {
    match error {
        PortError::Listen { address, source } => listen_error(address, "listen", &source),
        PortError::NoAddress => CliError::usage("no address to listen on"),
        PortError::Threads(_) => CliError::critical(error.to_string()),
    }
}

fn open_error(error: crate::database::OpenError) -> CliError {
    CliError::new(error.exit(), format!("the database cannot be opened: {error}"))
}

fn count_clients(shared: &Shared) -> ClientsDocument {
    let stats = &shared.stats;
    let totals = stats.totals();
    ClientsDocument {
        connected: shared.clients.count() as u64,
        connected_max: shared.settings.clients_max(),
        connections: stats.connections.load(Relaxed),
        connections_refused: stats.connections_refused.load(Relaxed),
        commands: totals.commands,
        errors: stats.errors.load(Relaxed),
        input_bytes: totals.input_bytes,
        output_bytes: totals.output_bytes,
    }
}

/// Says so, loudly and again, while the log cannot be written any more. Reads go on; only a restart helps.
async fn remind_of_poison(database: &Database) {
    let mut said: Option<tokio::time::Instant> = None;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let due = said.is_none_or(|at| at.elapsed() >= POISON_REMINDER);
        if let Some((code, reason)) = database.refusal()
            && [Condition::Poisoned.code(), Condition::Fenced.code()].contains(&code)
            && due
        {
            said = Some(tokio::time::Instant::now());
            tracing::error!(code, %reason, "NO WRITES ARE TAKEN until this process is restarted; reads go on");
        }
    }
}

/// The data directory as an absolute path, for people.
fn absolute(dir: &Path) -> String {
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string()
}
