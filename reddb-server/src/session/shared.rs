//! What all connections of a data port share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::clients::Clients;
use super::network::Network;
use super::pause::Pause;
use super::settings::Settings;
use super::stats::Stats;
use crate::database::Database;

/// The services of one data port.
pub(crate) struct Shared {
    /// The database.
    pub db: Database,
    /// What `CONFIG` sees.
    pub settings: Settings,
    /// What was counted.
    pub stats: Stats,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
    /// When the port was opened.
    pub started: Instant,
    /// Names this run of the process: 40 hex digits.
    pub run_id: String,
    /// Who takes nothing of an answer for so long is disconnected.
    pub write_stall_max: Duration,
    /// How many bytes of answers may wait for all clients to take them.
    pub unsent_bytes_max: usize,
    /// Where it listens.
    pub listening: Vec<SocketAddr>,
    /// The threads that serve the connections.
    pub(super) network: Network,
    /// No further commands are carried out.
    stopping: AtomicBool,
}

impl Shared {
    /// The services of a port that listens at these addresses.
    #[must_use]
    pub(crate) fn new(
        db: Database,
        network: Network,
        settings: Settings,
        listening: Vec<SocketAddr>,
        write_stall_max: Duration,
        unsent_bytes_max: usize,
    ) -> Self {
        let run_id = rand::random::<[u8; 20]>().iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            db,
            settings,
            stats: Stats::default(),
            clients: Arc::default(),
            pause: Pause::default(),
            started: Instant::now(),
            run_id,
            write_stall_max,
            unsent_bytes_max,
            listening,
            network,
            stopping: AtomicBool::new(false),
        }
    }

    /// Whether the connections have so much to do that more than one network thread serves them.
    #[must_use]
    pub(crate) fn is_spread(&self) -> bool {
        self.network.is_spread()
    }

    /// Whether the port is closing: connections end after what they are carrying out.
    #[must_use]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// From now on connections end after what they are carrying out.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.pause.end();
    }
}
