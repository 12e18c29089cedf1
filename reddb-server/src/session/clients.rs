//! Who is connected: what `CLIENT LIST` shows and `CLIENT KILL` ends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::command::table;

/// The number of a connection; never given twice by a process.
pub(super) type ClientId = u64;

/// The names that a client gave itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientNames {
    /// `CLIENT SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: String,
}

/// One connection, as others see it. Its own task keeps it up to date, others only look.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its number.
    pub id: ClientId,
    /// The other end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// The socket's descriptor; for show.
    pub descriptor: i32,
    /// When it connected.
    pub since: Instant,
    /// The names it gave itself.
    pub names: Mutex<ClientNames>,
    /// The database it has selected.
    pub db: AtomicU32,
    /// Commands queued since `MULTI`; -1 outside one.
    pub queued: AtomicI64,
    /// Bytes received and not yet carried out.
    pub query_bytes: AtomicUsize,
    /// Bytes of answers that wait for it to take them; [`Clients::hold`] sets them.
    unsent_bytes: AtomicUsize,
    /// The last command's counter, [`NO_COMMAND`] before the first.
    pub command: AtomicUsize,
    /// The protocol version.
    pub protocol: AtomicI64,
    /// Whether it watches keys.
    pub watches: AtomicBool,
    /// Whether it is carrying out commands.
    pub busy: AtomicBool,
    /// Whether it asked not to be evicted.
    pub no_evict: AtomicBool,
    /// Milliseconds from `since` to its last command.
    active_ms: AtomicU64,
    /// The number of the network thread that serves it.
    thread: AtomicUsize,
    task: Mutex<ServingTask>,
}

/// The task that serves a client. A client that moves to another thread is served by another one.
#[derive(Debug, Default)]
struct ServingTask {
    newest: Option<AbortHandle>,
    killed: bool,
}

/// What [`Client::command`] holds before the first command.
pub(super) const NO_COMMAND: usize = usize::MAX;

impl Client {
    /// Notes that it sent something.
    pub(crate) fn touch(&self) {
        self.active_ms.store(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// For how long it has sent nothing.
    #[must_use]
    pub(crate) fn idle(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.active_ms.load(Relaxed)))
    }

    /// Names the network thread, and the task there, that serves it from now on.
    pub(super) fn served_by(&self, thread: usize, task: AbortHandle) {
        self.thread.store(thread, Relaxed);
        let mut serving = self.task.lock();
        if serving.killed {
            task.abort();
        }
        serving.newest = Some(task);
    }

    /// Ends the connection without a word. Says whether it is the first to: one that was ended stays listed until its task is gone.
    pub(crate) fn kill(&self) -> bool {
        let mut serving = self.task.lock();
        if let Some(task) = &serving.newest {
            task.abort();
        }
        !std::mem::replace(&mut serving.killed, true)
    }

    /// Its line in `CLIENT LIST`.
    #[must_use]
    pub(crate) fn line(&self) -> String {
        let names = self.names.lock().clone();
        let mut flags = String::new();
        if self.queued.load(Relaxed) >= 0 {
            flags.push('x');
        }
        if self.no_evict.load(Relaxed) {
            flags.push('e');
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let query_bytes = self.query_bytes.load(Relaxed);
        let unsent_bytes = self.unsent_bytes.load(Relaxed);
        let mut line = String::with_capacity(320);
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub=0 psub=0 ssub=0 multi={} \
             qbuf={query_bytes} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={unsent_bytes} tot-mem={} events=r \
             cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={} io-thread={}",
            self.id,
            self.peer,
            self.local,
            self.descriptor,
            names.name,
            self.since.elapsed().as_secs(),
            self.idle().as_secs(),
            self.db.load(Relaxed),
            self.queued.load(Relaxed),
            query_bytes.saturating_add(unsent_bytes).saturating_add(size_of::<Self>()),
            table::counter_name(self.command.load(Relaxed)).unwrap_or("NULL"),
            self.protocol.load(Relaxed),
            names.library,
            names.library_version,
            self.thread.load(Relaxed),
        );
        line
    }
}

/// All connections of a data port.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    last_id: AtomicU64,
    /// The sum over all clients.
    unsent_bytes: AtomicUsize,
    all: Mutex<BTreeMap<ClientId, Arc<Client>>>,
}

impl Clients {
    /// How many there are.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.all.lock().len()
    }

    /// All of them, the oldest first.
    #[must_use]
    pub(crate) fn list(&self) -> Vec<Arc<Client>> {
        self.all.lock().values().cloned().collect()
    }

    /// Notes how many bytes of answers wait for a client to take them. Where all clients' together are more than
    /// `unsent_bytes_max`, those that have most are disconnected: whoever waited for room instead would wait for clients
    /// that may never read.
    pub(crate) fn hold(&self, client: &Client, bytes: usize, unsent_bytes_max: usize) {
        self.release(client);
        // In this order, so that whoever releases them finds them in the sum.
        self.unsent_bytes.fetch_add(bytes, AcqRel);
        client.unsent_bytes.store(bytes, Release);
        while self.unsent_bytes.load(Acquire) > unsent_bytes_max {
            let clients = self.list();
            let Some(most) = clients.iter().max_by_key(|client| client.unsent_bytes.load(Relaxed)) else { return };
            // Its memory counts as given back now, so that its end need not be waited for.
            let unsent_bytes = self.release(most);
            if unsent_bytes == 0 {
                return;
            }
            tracing::warn!(
                client = most.id, peer = %most.peer, unsent_bytes, unsent_bytes_max,
                "disconnected: of all clients, which leave too many answers untaken, it leaves most"
            );
            let _ = most.kill();
        }
    }

    /// Notes that no answers wait for a client; gives how many bytes did.
    pub(crate) fn release(&self, client: &Client) -> usize {
        let bytes = client.unsent_bytes.swap(0, AcqRel);
        self.unsent_bytes.fetch_sub(bytes, AcqRel);
        bytes
    }

    /// Lets a connection in, unless there are `clients_max` already.
    #[must_use]
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: SocketAddr,
        local: SocketAddr,
        descriptor: i32,
        clients_max: u64,
    ) -> Option<Admission> {
        let mut all = self.all.lock();
        if u64::try_from(all.len()).unwrap_or(u64::MAX) >= clients_max {
            return None;
        }
        let client = Arc::new(Client {
            id: self.last_id.fetch_add(1, Relaxed) + 1,
            peer,
            local,
            descriptor,
            since: Instant::now(),
            names: Mutex::default(),
            db: AtomicU32::new(0),
            queued: AtomicI64::new(-1),
            query_bytes: AtomicUsize::new(0),
            unsent_bytes: AtomicUsize::new(0),
            command: AtomicUsize::new(NO_COMMAND),
            protocol: AtomicI64::new(2),
            watches: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            active_ms: AtomicU64::new(0),
            thread: AtomicUsize::new(0),
            task: Mutex::default(),
        });
        all.insert(client.id, Arc::clone(&client));
        Some(Admission { clients: Arc::clone(self), client })
    }
}

/// A connection's place among the clients, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    clients: Arc<Clients>,
    client: Arc<Client>,
}

impl Admission {
    /// The client.
    #[must_use]
    pub(crate) const fn client(&self) -> &Arc<Client> {
        &self.client
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.clients.release(&self.client);
        self.clients.all.lock().remove(&self.client.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_holder_goes() {
        let clients = Arc::new(Clients::default());
        let addr: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let first = clients.admit(addr, addr, 3, 1).expect("there is room");
        assert!(clients.admit(addr, addr, 4, 1).is_none());
        assert!(
            first
                .client()
                .line()
                .starts_with("id=1 addr=127.0.0.1:1 laddr=127.0.0.1:1 fd=3 name= age=0 idle=0 flags=N")
        );
        drop(first);
        assert_eq!(clients.count(), 0);
        assert_eq!(clients.admit(addr, addr, 3, 1).expect("there is room").client().id, 2);
    }
}
