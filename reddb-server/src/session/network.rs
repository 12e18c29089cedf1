//! The network threads. Each serves the connections that it was handed, in a runtime of its own with one thread: nothing moves
//! between threads by itself, and the answers of a batch wake it once ([`Mailbox`]).
//!
//! One further thread has a seat for one connection, whose client is alone: who sits there may wait for the disk (ADR 6).
//! A connection changes its seat between two batches of commands.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::clients::Admission;
use super::connection::Connection;
use super::shared::Shared;
use crate::commit::Mailbox;
use crate::database::Database;

/// What a network thread is told. Bounded by the number of clients.
enum Message {
    /// A new connection.
    New(TcpStream, Admission, Arc<Shared>),
    /// A connection that has taken the seat of a client that is alone, with its socket.
    Alone(Box<Connection>, TcpStream),
    /// A connection that comes back from there.
    Back(Box<Connection>, TcpStream),
    /// End, and with it all connections.
    Stop,
}

/// The threads of one data port.
pub(crate) struct Network {
    threads: Vec<UnboundedSender<Message>>,
    next: AtomicUsize,
    alone: UnboundedSender<Message>,
    alone_seat: Arc<SeatState>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

/// Where a connection sits, and so how it submits its jobs.
pub(super) enum Seat {
    /// Among others, whose thread has this mailbox.
    Shared(Arc<Mailbox>),
    /// By itself.
    Alone(AloneSeat),
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
        let alone_seat = Arc::default();
        let (alone, inbox) = unbounded_channel();
        let mut network =
            Self { threads: Vec::new(), next: AtomicUsize::new(0), alone, alone_seat, running: Mutex::default() };
        network.run("reddb-net-alone".to_owned(), inbox, db)?;
        for number in 0..threads.max(1) {
            let (sender, inbox) = unbounded_channel();
            network.run(format!("reddb-net-{number}"), inbox, db)?;
            network.threads.push(sender);
        }
        Ok(network)
    }

    fn run(&self, name: String, inbox: UnboundedReceiver<Message>, db: &Database) -> std::io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().thread_name(format!("{name}-work")).build()?;
        let db = db.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || serve(runtime, inbox, db))?;
        self.running.lock().push(thread);
        Ok(())
    }

    /// Lets a thread serve a new connection.
    pub(super) fn take(&self, socket: TcpStream, admission: Admission, shared: &Arc<Shared>) {
        self.send(Message::New(socket, admission, Arc::clone(shared)));
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
        drop(self.alone.send(Message::Alone(connection, socket)));
    }

    /// Serves a connection among others again.
    pub(super) fn serve_again(&self, connection: Box<Connection>, socket: TcpStream) {
        self.send(Message::Back(connection, socket));
    }

    fn send(&self, message: Message) {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(thread) = self.threads.get(next % self.threads.len().max(1)) {
            drop(thread.send(message));
        }
    }

    /// Ends the threads, each after what it is doing at this moment. Gives them, to be waited for.
    pub(super) fn stop(&self) -> Vec<JoinHandle<()>> {
        for thread in self.threads.iter().chain([&self.alone]) {
            drop(thread.send(Message::Stop));
        }
        std::mem::take(&mut *self.running.lock())
    }
}

/// A network thread, until it is stopped.
fn serve(runtime: Runtime, mut inbox: UnboundedReceiver<Message>, db: Database) {
    let mailbox = Arc::new(Mailbox::default());
    runtime.block_on(async {
        let answers = Arc::clone(&mailbox);
        tokio::spawn(async move { db.serve_mailbox(&answers).await });
        while let Some(message) = inbox.recv().await {
            let connection = match message {
                Message::New(socket, admission, shared) => tokio::net::TcpStream::from_std(socket)
                    .map(|socket| Connection::new(socket, shared, admission, Seat::Shared(Arc::clone(&mailbox)))),
                Message::Alone(mut connection, socket) => connection.wait_with(socket).map(|()| *connection),
                Message::Back(mut connection, socket) => {
                    connection.sit(&mailbox);
                    connection.wait_with(socket).map(|()| *connection)
                }
                Message::Stop => return,
            };
            match connection {
                Ok(connection) => {
                    let client = connection.client();
                    client.served_by(tokio::spawn(connection.serve()).abort_handle());
                }
                Err(error) => tracing::warn!(%error, "cannot wait for a connection's socket: it is closed"),
            }
        }
    });
    runtime.shutdown_background();
}
