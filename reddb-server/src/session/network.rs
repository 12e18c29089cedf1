//! The network threads. Each serves the connections that it was handed, in a runtime of its own with one thread: nothing moves
//! between threads by itself, and the answers of a batch wake it once ([`Mailbox`]).
//!
//! One further thread has a seat for one connection, whose client is alone: who sits there may wait for the disk (ADR 6).
//! The others are gathered in the first thread or spread over all of them, as their load needs (`spread`).
//! A connection changes its seat between two batches of commands.

use std::cell::RefCell;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::clients::{Admission, ClientId};
use super::connection::Connection;
use super::shared::Shared;
use super::spread::{FreeCores, IdleTime, LOOK, Spread};
use crate::commit::Mailbox;
use crate::database::{Database, View};
use crate::keyspace::SnapshotState;

thread_local! {
    /// What the connections of this thread read from, until everything is carried out that was ready when it was taken. Bounded so,
    /// because nothing that it holds can be compacted away.
    static STATE: RefCell<Option<Arc<SnapshotState>>> = const { RefCell::new(None) };
}

/// What a network thread is told. Bounded by the number of clients.
enum Message {
    /// A new connection.
    New(TcpStream, Admission, Arc<Shared>),
    /// A connection that has taken the seat of a client that is alone, with its socket.
    Alone(Box<Connection>, TcpStream),
    /// A connection that comes from another thread.
    Moved(Box<Connection>, TcpStream),
    /// End, and with it all connections.
    Stop,
}

/// The threads of one data port.
pub(crate) struct Network {
    /// Those that serve several connections each; at least one.
    threads: Vec<NetworkThread>,
    /// Whether all of them do, or only the first.
    spread: AtomicBool,
    alone: NetworkThread,
    alone_seat: Arc<SeatState>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

/// A network thread as others see it.
struct NetworkThread {
    inbox: UnboundedSender<Message>,
    idle: Arc<IdleTime>,
}

/// Where a connection sits, and so how it submits its jobs.
pub(super) enum Seat {
    /// Among others.
    Shared {
        /// The number of the thread.
        thread: usize,
        /// Its mailbox.
        mailbox: Arc<Mailbox>,
    },
    /// By itself.
    Alone(AloneSeat),
}

impl Seat {
    /// The newest durable state, shared with other connections of the thread.
    pub(super) fn view(&self, db: &Database) -> View {
        match self {
            Self::Alone(_) => db.view(),
            Self::Shared { mailbox, .. } => STATE.with_borrow_mut(|state| {
                if state.is_none() {
                    mailbox.round_begins();
                }
                db.view_from(state)
            }),
        }
    }
}

/// Whether the seat of a client that is alone is taken, and whether somebody else wants it.
#[derive(Default)]
struct SeatState {
    taken: AtomicBool,
    wanted: Notify,
}

/// The seat of a client that is alone; free again when this is dropped.
pub(super) struct AloneSeat(Arc<SeatState>);

impl AloneSeat {
    /// Returns when somebody else wants the seat.
    pub(super) async fn wanted(&self) {
        self.0.wanted.notified().await;
    }
}

impl Drop for AloneSeat {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

impl Network {
    /// Starts so many threads, and the one for a client that is alone.
    ///
    /// # Errors
    /// Where the system gives no threads, or no means to wait for sockets.
    pub(super) fn start(threads: usize, db: &Database) -> std::io::Result<Self> {
        let (threads, mut running) = (threads.max(1), Vec::new());
        let alone = NetworkThread::start("reddb-net-alone", threads, db, &mut running)?;
        let threads = (0..threads)
            .map(|number| NetworkThread::start(&format!("reddb-net-{number}"), number, db, &mut running))
            .collect::<std::io::Result<_>>()?;
        let spread = AtomicBool::new(false);
        Ok(Self { threads, spread, alone, alone_seat: Arc::default(), running: Mutex::new(running) })
    }

    /// Lets a thread serve a new connection.
    pub(super) fn take(&self, socket: TcpStream, admission: Admission, shared: &Arc<Shared>) {
        let thread = self.thread_for(admission.client().id);
        self.send(thread, Message::New(socket, admission, Arc::clone(shared)));
    }

    /// Which thread is to serve a client among others, at this moment.
    pub(super) fn thread_for(&self, client: ClientId) -> usize {
        let threads = if self.is_spread() { self.threads.len() } else { 1 };
        usize::try_from(client % threads as u64).unwrap_or(0)
    }

    /// Whether the connections are spread over all threads, not gathered in the first.
    pub(super) fn is_spread(&self) -> bool {
        self.spread.load(Ordering::Relaxed)
    }

    /// Gathers the connections or spreads them, as their load needs, for as long as there is more than one thread. Each moves
    /// when it has been served the next time.
    pub(super) async fn balance(&self) {
        if self.threads.len() < 2 {
            return;
        }
        let (mut spread, mut free_cores) = (Spread::default(), FreeCores::default());
        let mut looked = Instant::now();
        let mut before: Vec<Duration> = self.threads.iter().map(|thread| thread.idle.total(looked)).collect();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Instant::now();
            let elapsed = now.duration_since(looked);
            let after: Vec<Duration> = self.threads.iter().map(|thread| thread.idle.total(now)).collect();
            let idle = after.iter().zip(&before).map(|(after, before)| after.saturating_sub(*before));
            let idle: Vec<f64> = idle.map(|idle| idle.div_duration_f64(elapsed)).collect();
            self.set_spread(spread.look(&idle, || free_cores.ask()));
            free_cores.looked();
            (looked, before) = (now, after);
        }
    }

    /// Spreads the connections over all threads, or gathers them in the first.
    pub(super) fn set_spread(&self, spread: bool) {
        if self.spread.swap(spread, Ordering::Relaxed) != spread {
            tracing::debug!(spread, threads = self.threads.len(), "the load of the connections has changed");
        }
    }

    /// The seat of a client that is alone, if it is free. Whoever has it learns that it is wanted.
    pub(super) fn alone_seat(&self) -> Option<AloneSeat> {
        let taken = self.alone_seat.taken.swap(true, Ordering::AcqRel);
        if taken {
            self.alone_seat.wanted.notify_one();
        }
        (!taken).then(|| AloneSeat(Arc::clone(&self.alone_seat)))
    }

    /// Serves a connection at the seat that it has taken.
    pub(super) fn serve_alone(&self, connection: Box<Connection>, socket: TcpStream) {
        // Where the thread has stopped the connection ends, as all do.
        drop(self.alone.inbox.send(Message::Alone(connection, socket)));
    }

    /// Serves a connection among others, in the thread that is for it now.
    pub(super) fn serve_elsewhere(&self, connection: Box<Connection>, socket: TcpStream) {
        let thread = self.thread_for(connection.client().id);
        self.send(thread, Message::Moved(connection, socket));
    }

    fn send(&self, thread: usize, message: Message) {
        if let Some(thread) = self.threads.get(thread) {
            drop(thread.inbox.send(message));
        }
    }

    /// Ends the threads, each after what it is doing at this moment. Gives them, to be waited for.
    pub(super) fn stop(&self) -> Vec<JoinHandle<()>> {
        for thread in self.threads.iter().chain([&self.alone]) {
            drop(thread.inbox.send(Message::Stop));
        }
        std::mem::take(&mut *self.running.lock())
    }
}

impl NetworkThread {
    fn start(name: &str, number: usize, db: &Database, running: &mut Vec<JoinHandle<()>>) -> std::io::Result<Self> {
        let idle = Arc::new(IdleTime::default());
        let (begins, ends) = (Arc::clone(&idle), Arc::clone(&idle));
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name(format!("{name}-work"))
            .on_thread_park(move || begins.begin(Instant::now()))
            .on_thread_unpark(move || ends.end(Instant::now()))
            .build()?;
        let (sender, inbox) = unbounded_channel();
        let db = db.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        running.push(thread.spawn(move || serve(runtime, number, inbox, db))?);
        Ok(Self { inbox: sender, idle })
    }
}

/// A network thread, until it is stopped.
fn serve(runtime: Runtime, thread: usize, mut inbox: UnboundedReceiver<Message>, db: Database) {
    let mailbox = Arc::new(Mailbox::default());
    runtime.block_on(async {
        let answers = Arc::clone(&mailbox);
        tokio::spawn(async move { db.serve_mailbox(&answers, || drop(STATE.take())).await });
        while let Some(message) = inbox.recv().await {
            let connection = match message {
                Message::New(socket, admission, shared) => {
                    let seat = Seat::Shared { thread, mailbox: Arc::clone(&mailbox) };
                    tokio::net::TcpStream::from_std(socket)
                        .map(|socket| Connection::new(socket, shared, admission, seat))
                }
                Message::Alone(mut connection, socket) => connection.wait_with(socket).map(|()| *connection),
                Message::Moved(mut connection, socket) => {
                    connection.sit(Seat::Shared { thread, mailbox: Arc::clone(&mailbox) });
                    connection.wait_with(socket).map(|()| *connection)
                }
                Message::Stop => return,
            };
            match connection {
                Ok(connection) => {
                    let client = connection.client();
                    client.served_by(thread, tokio::spawn(connection.serve()).abort_handle());
                }
                Err(error) => tracing::warn!(%error, "cannot wait for a connection's socket: it is closed"),
            }
        }
    });
    runtime.shutdown_background();
}
