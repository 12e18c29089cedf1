//! The listening sockets: who is let in, and how the port closes.

use std::net::SocketAddr;
use std::num::NonZero;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::network::Network;
use super::settings::Settings;
use super::shared::Shared;
use crate::command::budget::ANSWER_BYTES_MAX;
use crate::database::Database;

/// How often idle clients are looked for and rates are taken.
const TICK: Duration = Duration::from_secs(1);

/// After how long without a word the other end is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(300);

/// After how long accepting is tried again when it failed for want of something.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How the data port is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortConfig {
    /// Where it listens; a port of 0 is any free one.
    pub listen: Vec<SocketAddr>,
    /// The most clients at a time.
    pub clients_max: u32,
    /// After how long an idle client is disconnected; zero for never.
    pub idle_timeout_s: u32,
    /// Who takes nothing of an answer for so long is disconnected.
    pub write_stall_max: Duration,
    /// How many bytes of answers may wait for all clients together to take them; beyond that, those for which most wait are
    /// disconnected.
    pub unsent_bytes_max: usize,
    /// The password of the user `default`; `None` for none.
    pub password: Option<String>,
    /// How many threads serve the connections.
    pub network_threads: usize,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 6379))],
            clients_max: 10_000,
            idle_timeout_s: 0,
            write_stall_max: Duration::from_secs(60),
            unsent_bytes_max: 2 * ANSWER_BYTES_MAX,
            password: None,
            network_threads: std::thread::available_parallelism().map_or(1, NonZero::get),
        }
    }
}

/// Why the data port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    /// The address cannot be listened at.
    #[error("cannot listen on {address}: {source}; is it in use by another process? choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is none.
    #[error("no address to listen on")]
    NoAddress,
    /// The system gives no threads to serve connections.
    #[error("cannot start the network threads: {0}")]
    Threads(std::io::Error),
}

/// An open data port.
pub(crate) struct Port {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Port {
    /// Opens the port: from now on clients are served.
    ///
    /// # Errors
    /// [`PortError`].
    pub(crate) async fn open(config: PortConfig, db: Database) -> Result<Self, PortError> {
        raise_descriptor_limit(config.clients_max);
        let mut listeners = Vec::new();
        for address in &config.listen {
            let failed = |source| PortError::Listen { address: *address, source };
            let listener = listen(*address).map_err(failed)?;
            let local = listener.local_addr().map_err(failed)?;
            listeners.push((local, listener));
        }
        let addresses: Vec<SocketAddr> = listeners.iter().map(|(local, _)| *local).collect();
        let first = addresses.first().ok_or(PortError::NoAddress)?;
        let settings = Settings::new();
        settings.preset("maxclients", config.clients_max.to_string());
        settings.preset("timeout", config.idle_timeout_s.to_string());
        settings.preset("port", first.port().to_string());
        settings.preset("bind", addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" "));
        settings.preset("dir", db.config().dir.display().to_string());
        settings.preset("requirepass", config.password.unwrap_or_default());
        let network = Network::start(config.network_threads, &db).map_err(PortError::Threads)?;
        let shared =
            Arc::new(Shared::new(db, network, settings, addresses, config.write_stall_max, config.unsent_bytes_max));
        let balanced = Arc::clone(&shared);
        let balance = tokio::spawn(async move { balanced.network.balance().await });
        let mut tasks = vec![balance, tokio::spawn(tick(Arc::clone(&shared)))];
        tasks.extend(listeners.into_iter().map(|(_, listener)| tokio::spawn(accept(listener, Arc::clone(&shared)))));
        Ok(Self { shared, tasks })
    }

    /// Where it listens, with the ports that were chosen.
    #[must_use]
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.shared.listening
    }

    /// What was counted.
    #[must_use]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Leaves the connections gathered, or spread, until told otherwise.
    #[cfg(test)]
    pub(super) async fn stop_balancing(&mut self) {
        let balance = self.tasks.remove(0);
        balance.abort();
        drop(balance.await);
    }

    /// Closes the port: nobody is let in, idle connections end, the others end after what they are carrying out, at the
    /// latest after `grace`.
    pub(crate) async fn close(mut self, grace: Duration) {
        self.stop();
        self.end_clients(grace).await;
        let threads = self.shared.network.stop();
        let ended = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        // A thread that the disk holds up does not keep the port open.
        drop(tokio::time::timeout(grace, ended).await);
    }

    async fn end_clients(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        loop {
            let clients = self.shared.clients.list();
            if clients.is_empty() {
                return;
            }
            let late = Instant::now() >= deadline;
            for client in clients.iter().filter(|client| late || !client.busy.load(Relaxed)) {
                let _ = client.kill();
            }
            if late {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn stop(&mut self) {
        self.shared.stop();
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if !self.tasks.is_empty() {
            self.stop();
            self.shared.network.stop();
        }
    }
}

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port whose last connections are still in TIME_WAIT can be listened at again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Descriptors that the process needs beside those of its clients.
const DESCRIPTORS_RESERVED: u64 = 4096;

/// Lets the process open a socket for each client, as far as the system allows.
fn raise_descriptor_limit(clients_max: u32) {
    let wanted = u64::from(clients_max) + DESCRIPTORS_RESERVED;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let allowed = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum });
    if allowed < wanted || raised.is_err() {
        let hint = "raise the limit of open files (ulimit -n) or lower --maxclients";
        tracing::warn!(allowed, wanted, hint, "fewer files may be open than so many clients need");
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(stream, peer, &shared),
            Err(error) => {
                // Out of descriptors or memory, or a connection that was gone before it was accepted.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn admit(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    shared.stats.connections.fetch_add(1, Relaxed);
    let Ok(local) = stream.local_addr() else { return };
    let clients_max = shared.settings.clients_max();
    let Some(admission) = shared.clients.admit(peer, local, stream.as_raw_fd(), clients_max) else {
        shared.stats.connections_refused.fetch_add(1, Relaxed);
        // The socket is new, so its buffer has room; if not, the client learns nothing but that it was closed.
        let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
        return;
    };
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%error, %peer, "cannot set the options of a connection");
    }
    match stream.into_std() {
        Ok(socket) => shared.network.take(socket, admission, shared),
        Err(error) => tracing::warn!(%error, %peer, "cannot hand a connection to a network thread: it is closed"),
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Takes rates and disconnects who has been idle for too long.
async fn tick(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stats = &shared.stats;
    let mut before = [0u64; 3];
    loop {
        ticks.tick().await;
        let totals = stats.totals();
        let now = [totals.commands, totals.input_bytes, totals.output_bytes];
        let rates = [&stats.last_second.commands, &stats.last_second.input_bytes, &stats.last_second.output_bytes];
        for ((rate, now), before) in rates.into_iter().zip(now).zip(before) {
            rate.store(now.saturating_sub(before), Relaxed);
        }
        before = now;
        if let Some(timeout) = shared.settings.idle_timeout() {
            let clients = shared.clients.list();
            let idle = clients.iter().filter(|client| !client.busy.load(Relaxed) && client.idle() > timeout);
            for client in idle {
                let _ = client.kill();
            }
        }
    }
}
