//! One connection: read what is there, carry out every complete command, write the answers.
//!
//! A command's way: [`table::resolve_likely`] → authentication → `MULTI` → one of
//! * a read while nothing waits for the committer: carried out here, against what is durable;
//! * a write, and whatever follows one: a step of the [`Job`] that is being gathered;
//! * a session command: carried out here, after the job where it must not run ahead of it.
//!
//! The job is submitted when the batch ends, or when something has to wait for it ([`Connection::settle`]). A batch ends where
//! the socket is empty, so that a pipeline's writes share syncs however many reads it takes, or where it is large.

mod exec;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, yield_now};

use super::clients::{Admission, Client};
use super::network::{AloneSeat, Seat};
use super::shared::Shared;
use super::state::{Answer, Later, Session};
use super::wire::{Hangup, Wire};
use crate::command::table::{self, Resolved, SessionFn, TableEntry, When};
use crate::command::{KeyPositions, Run};
use crate::commit::{Invocation, Job, JobOutcome, Step};
use crate::database::{Database, View};
use crate::reply::{CommandError, Reply};
use crate::resp::encode;

/// Commands that are carried out together.
const BATCH_COMMANDS_MAX: usize = 1024;

/// Bytes of arguments that are carried out together, where it is more than one command.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Places for answers that an idle connection keeps.
const SLOTS_KEPT: usize = 32;

/// A connection's reads may hold up a network thread for so long before others get their turn.
const READS_AT_A_TIME_MAX: Duration = Duration::from_micros(500);

/// After a batch that had so many bytes there is more to come as a rule: others get their turn before it.
const LARGE_BATCH_BYTES: usize = 16 * 1024;

/// An answer that holds more bytes is written down by another thread.
const INLINE_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// An answer that waits for those before it.
#[derive(Debug)]
enum Slot {
    /// It is known.
    Known(Reply),
    /// It is the job's next one.
    Job {
        /// Where its command is counted.
        counter: usize,
        /// Whether it may be sent.
        answered: bool,
    },
}

/// Why a connection is not served here any more.
enum End {
    /// It is over.
    Over,
    /// It goes to the seat of a client that is alone.
    Alone(AloneSeat, std::net::TcpStream),
    /// It goes to another thread, among others.
    Elsewhere(std::net::TcpStream),
}

/// One connection.
pub(super) struct Connection {
    seat: Seat,
    wire: Wire,
    session: Session,
    job: Job,
    slots: VecDeque<Slot>,
    /// The command before: the next one is often the same.
    last_command: Option<&'static TableEntry>,
    batch_commands: usize,
    batch_bytes: usize,
    /// For how long it read, of the thread's time, since others had their turn.
    reading: Duration,
    /// What a run of reads reads from, and a run of writes is warmed from: all reads of it had been sent when it was taken. It ends
    /// before anything is waited for, because it holds up compaction.
    view: Option<View>,
    /// When the read before was done, where this thread has done nothing else since.
    read_at: Option<Instant>,
    closing: bool,
    /// Last, so that the place is given back when everything else is gone.
    _admission: Admission,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, shared: Arc<Shared>, admission: Admission, seat: Seat) -> Self {
        Self {
            seat,
            wire: Wire::new(stream, Arc::clone(&shared), Arc::clone(admission.client())),
            session: Session::new(shared, Arc::clone(admission.client())),
            job: Job::default(),
            slots: VecDeque::new(),
            last_command: None,
            batch_commands: 0,
            batch_bytes: 0,
            reading: Duration::ZERO,
            view: None,
            read_at: None,
            closing: false,
            _admission: admission,
        }
    }

    /// Itself as others see it.
    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.session.client)
    }

    /// Waits with this from now on, which is its socket once more, in the current runtime.
    pub(super) fn wait_with(&mut self, socket: std::net::TcpStream) -> std::io::Result<()> {
        self.wire.wait_with(TcpStream::from_std(socket)?);
        Ok(())
    }

    /// Sits there from now on.
    pub(super) fn sit(&mut self, seat: Seat) {
        self.seat = seat;
    }

    /// Serves the connection until it ends or moves to another thread.
    pub(super) async fn serve(mut self) {
        let shared = Arc::clone(&self.session.shared);
        match self.work().await {
            Ok(End::Over) if self.closing => self.wire.linger().await,
            Ok(End::Over) => {}
            Ok(End::Alone(seat, socket)) => {
                self.sit(Seat::Alone(seat));
                shared.network.serve_alone(Box::new(self), socket);
            }
            Ok(End::Elsewhere(socket)) => shared.network.serve_elsewhere(Box::new(self), socket),
            Err(hangup) => tracing::debug!(client = self.session.client.id, %hangup, "connection ended"),
        }
    }

    async fn work(&mut self) -> Result<End, Hangup> {
        while !self.closing && !self.session.shared.is_stopping() {
            let received = match &self.seat {
                Seat::Shared { .. } => self.wire.receive().await?,
                Seat::Alone(seat) => tokio::select! {
                    biased;
                    received = self.wire.receive() => received?,
                    () = seat.wanted() => match self.wire.another_socket() {
                        Ok(socket) => return Ok(End::Elsewhere(socket)),
                        Err(_) => continue,
                    },
                },
            };
            if received == 0 {
                break;
            }
            self.session.client.busy.store(true, Relaxed);
            self.session.client.touch();
            self.carry_out().await?;
            self.rest();
            if received >= LARGE_BATCH_BYTES {
                yield_now().await;
            }
            if let Some(end) = self.changes_seat() {
                return Ok(end);
            }
        }
        Ok(End::Over)
    }

    /// Whether the connection goes to another thread now. Without a descriptor for that it stays.
    fn changes_seat(&self) -> Option<End> {
        let network = &self.session.shared.network;
        match self.seat {
            Seat::Shared { .. } if self.wire.is_alone_for_long() => {
                let seat = network.alone_seat()?;
                self.wire.another_socket().ok().map(|socket| End::Alone(seat, socket))
            }
            Seat::Shared { thread, .. } if thread == network.thread_for(self.session.client.id) => None,
            Seat::Alone(_) if self.wire.is_alone() => None,
            Seat::Shared { .. } | Seat::Alone(_) => self.wire.another_socket().ok().map(End::Elsewhere),
        }
    }

    /// Gives back what an idle connection does not need.
    fn rest(&mut self) {
        self.wire.rest();
        self.slots.shrink_to(SLOTS_KEPT);
        let client = &self.session.client;
        client.query_bytes.store(self.wire.decoder.buffered_bytes(), Relaxed);
        client.busy.store(false, Relaxed);
    }

    /// Carries out every complete command that was received, and sends the answers.
    async fn carry_out(&mut self) -> Result<(), Hangup> {
        while !self.closing {
            match self.wire.decoder.next_command(self.session.trust()) {
                Ok(None) if self.expects_more() && self.wire.receive_ready() > 0 => {}
                Ok(None) => break,
                Ok(Some(args)) => {
                    self.batch_commands += 1;
                    self.batch_bytes = args.iter().fold(self.batch_bytes, |bytes, arg| bytes.saturating_add(arg.len()));
                    self.command(args).await?;
                    if self.batch_commands >= BATCH_COMMANDS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
                        self.settle().await?;
                    }
                    if self.slots.is_empty() && self.wire.is_full() {
                        self.end_run();
                        self.wire.send().await?;
                    }
                }
                Err(error) => {
                    self.settle().await?;
                    let reply = Reply::Error(error.into());
                    self.session.shared.stats.rejected(None, &reply);
                    self.put(&reply);
                    self.closing = true;
                }
            }
        }
        self.settle().await?;
        self.wire.send().await
    }

    fn end_run(&mut self) {
        (self.view, self.read_at) = (None, None);
    }

    /// Whether writes wait to be submitted, and their client looks like one that sends more behind them without waiting: what is
    /// in the socket already shares their sync.
    fn expects_more(&self) -> bool {
        !self.job.steps.is_empty() && (self.batch_commands > 1 || self.wire.decoder.buffered_bytes() > 0)
    }

    async fn command(&mut self, args: Vec<Bytes>) -> Result<(), Hangup> {
        let resolved = match table::resolve_likely(&args, self.last_command) {
            Ok(resolved) => resolved,
            Err(rejected) => {
                let foreign = |word: &str| args.first().is_some_and(|name| name.eq_ignore_ascii_case(word.as_bytes()));
                if foreign("post") || foreign("host:") {
                    // A browser was made to speak to us: not one more of its lines is to be taken for a command.
                    return Err(Hangup::Foreign);
                }
                self.refuse(rejected.counter, rejected.error);
                return Ok(());
            }
        };
        let entry = resolved.entry;
        self.last_command = Some(entry);
        self.session.client.command.store(resolved.counter, Relaxed);
        if self.session.needs_authentication() && !entry.no_auth {
            self.refuse(Some(resolved.counter), CommandError::fixed("NOAUTH Authentication required."));
            return Ok(());
        }
        if self.session.in_multi() && entry.no_multi {
            let error = CommandError::fixed("ERR Command not allowed inside a transaction");
            self.refuse(Some(resolved.counter), error);
            return Ok(());
        }
        self.pause(resolved).await?;
        if self.session.in_multi() && !entry.through_multi {
            let reply = self.session.enqueue(resolved, args);
            self.answer(reply);
            return Ok(());
        }
        if matches!(entry.spec.run, Run::Session) {
            // It may wait, for ever even.
            self.end_run();
        }
        match (entry.spec.run, entry.session) {
            (Run::Session, Some(_)) if entry.spec.name == "exec" && self.session.in_multi() => {
                self.exec(resolved).await
            }
            (Run::Session, Some((when, run))) => self.session_command(resolved, when, run, &args).await,
            (Run::Session, None) => {
                self.refuse(Some(resolved.counter), CommandError::fixed("ERR this command is not carried out here"));
                Ok(())
            }
            (Run::Read(_), _) if self.job.steps.is_empty() => self.read_now(resolved, args).await,
            (Run::Read(_), _) if entry.spec.heavy => {
                self.settle().await?;
                self.read_now(resolved, args).await
            }
            (Run::Read(_), _) => {
                self.step(resolved.counter, Step::Run(self.invocation(resolved, args)));
                Ok(())
            }
            (Run::Write(_), _) => self.write(resolved, args).await,
        }
    }

    /// Waits where `CLIENT PAUSE` says so.
    async fn pause(&mut self, resolved: Resolved) -> Result<(), Hangup> {
        let writes = resolved.entry.spec.is_write() || (resolved.entry.spec.name == "exec" && self.queued_writes());
        let shared = Arc::clone(&self.session.shared);
        if shared.pause.holds(writes).is_none() || table::counter_name(resolved.counter) == Some("client|unpause") {
            return Ok(());
        }
        self.settle().await?;
        self.wire.send().await?;
        shared.pause.wait(writes).await;
        Ok(())
    }

    fn queued_writes(&self) -> bool {
        let queue = self.session.queue.as_ref();
        queue.is_some_and(|queue| queue.commands.iter().any(|queued| queued.resolved.entry.spec.is_write()))
    }

    fn invocation(&self, resolved: Resolved, args: Vec<Bytes>) -> Invocation {
        Invocation { spec: resolved.entry.spec, args, db: self.session.db() }
    }

    /// A read, against what is durable, or was when the reads just before it were carried out. Looks at the clock once where a read
    /// went before.
    async fn read_now(&mut self, resolved: Resolved, args: Vec<Bytes>) -> Result<(), Hangup> {
        let invocation = self.invocation(resolved, args);
        let spec = invocation.spec;
        if spec.heavy {
            self.end_run();
        }
        let started = self.read_at.take().unwrap_or_else(Instant::now);
        let reply = if spec.heavy {
            let db = self.session.shared.db.clone();
            aside(move || db.read(&invocation)).await?
        } else {
            let db = &self.session.shared.db;
            let view = self.view.take().unwrap_or_else(|| self.seat.view(db));
            let reply = db.read_from(&view, &invocation);
            self.view = Some(view);
            reply
        };
        let done = Instant::now();
        let busy = done.duration_since(started);
        let stats = &self.session.shared.stats;
        stats.executed(resolved.counter, busy, &reply);
        if spec.keys != KeyPositions::NONE {
            stats.looked_up(&reply);
        }
        if !spec.heavy {
            self.reading += busy;
            if self.reading > READS_AT_A_TIME_MAX {
                self.reading = Duration::ZERO;
                self.view = None;
                yield_now().await;
            } else if reply.held_bytes() <= INLINE_ANSWER_BYTES_MAX {
                self.read_at = Some(done);
            }
        }
        self.answer_data(reply).await
    }

    async fn write(&mut self, resolved: Resolved, args: Vec<Bytes>) -> Result<(), Hangup> {
        let mut invocation = self.invocation(resolved, args);
        let heavy = invocation.spec.heavy;
        if heavy {
            self.settle().await?;
            let db = self.session.shared.db.clone();
            invocation = aside(move || {
                Database::warm(&db.view(), &invocation);
                invocation
            })
            .await?;
        } else {
            let view = self.view.take().unwrap_or_else(|| self.seat.view(&self.session.shared.db));
            Database::warm(&view, &invocation);
            // The writes behind it come to read the same.
            self.view = Some(view);
        }
        self.step(resolved.counter, Step::Run(invocation));
        if heavy { self.settle().await } else { Ok(()) }
    }

    async fn session_command(
        &mut self,
        resolved: Resolved,
        when: When,
        run: SessionFn,
        args: &[Bytes],
    ) -> Result<(), Hangup> {
        if when == When::Settled {
            self.settle().await?;
        }
        let started = Instant::now();
        let failed = Reply::Error;
        let reply = match run(&mut self.session, args).unwrap_or_else(|error| Answer::Reply(failed(error))) {
            Answer::Reply(reply) => reply,
            Answer::Close(reply) => {
                self.closing = true;
                reply
            }
            Answer::Submit(step) => {
                self.step(resolved.counter, step);
                return Ok(());
            }
            Answer::Later(later) => {
                self.wire.send().await?;
                self.later(later).await?
            }
        };
        self.session.shared.stats.executed(resolved.counter, started.elapsed(), &reply);
        self.answer(reply);
        Ok(())
    }

    async fn later(&mut self, later: Later) -> Result<Reply, Hangup> {
        let db = self.session.shared.db.clone();
        Ok(match later {
            Later::Replicas(timeout) => {
                self.wait(timeout).await?;
                Reply::Int(0)
            }
            Later::Save if db.status().archive.snapshot_running => {
                Reply::Error(CommandError::fixed("ERR Background save already in progress"))
            }
            Later::Save => db.backup("save").await.map_or_else(Reply::Error, |_| Reply::Ok),
            Later::Digest => match tokio::task::spawn_blocking(move || db.digest()).await {
                Ok(Ok((lsn, digest))) => {
                    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                    Reply::Array(vec![Reply::count(lsn.get()), Reply::text(&hex)])
                }
                Ok(Err(error)) => Reply::Error(error),
                Err(_) => Reply::Error(CommandError::fixed("ERR the digest was not finished: see the server's log")),
            },
        })
    }

    /// Waits for what never comes, for so long or until the client goes.
    async fn wait(&self, timeout: Option<Duration>) -> Result<(), Hangup> {
        const LOOK: Duration = Duration::from_secs(1);
        let started = Instant::now();
        loop {
            let left = timeout.map_or(LOOK, |timeout| timeout.saturating_sub(started.elapsed()).min(LOOK));
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left).await;
            if self.wire.is_closed().await? || self.session.shared.is_stopping() {
                return Err(Hangup::ShuttingDown);
            }
        }
    }

    /// Adds a step to the job. Its answer comes with the job's.
    fn step(&mut self, counter: usize, step: Step) {
        let answered = self.session.next_is_answered();
        self.job.steps.push(step);
        self.slots.push_back(Slot::Job { counter, answered });
    }

    /// An error before anything was done; it breaks an open `MULTI`, and ends it where `EXEC` itself is refused.
    fn refuse(&mut self, counter: Option<usize>, error: CommandError) {
        if counter.and_then(table::counter_name) == Some("exec") {
            self.session.discard_multi();
            let reason = error.line().strip_prefix(b"ERR ").unwrap_or(error.line());
            let error = CommandError::quoting("EXECABORT Transaction discarded because of: ", reason, "");
            self.reject(counter, error);
        } else {
            self.session.refuse_exec();
            self.reject(counter, error);
        }
    }

    /// Answers an error before anything was done.
    fn reject(&mut self, counter: Option<usize>, error: CommandError) {
        let reply = Reply::Error(error);
        self.session.shared.stats.rejected(counter, &reply);
        self.answer(reply);
    }

    /// Answers a command: at once where nothing waits before it.
    fn answer(&mut self, reply: Reply) {
        if !self.session.next_is_answered() {
            return;
        }
        if self.slots.is_empty() {
            self.put(&reply);
        } else {
            self.slots.push_back(Slot::Known(reply));
        }
    }

    /// As [`Connection::answer`], for an answer of any size.
    async fn answer_data(&mut self, reply: Reply) -> Result<(), Hangup> {
        if self.slots.is_empty() && self.session.next_is_answered() {
            return self.put_data(reply).await;
        }
        self.answer(reply);
        Ok(())
    }

    fn put(&mut self, reply: &Reply) {
        self.wire.put(reply, self.session.protocol());
    }

    /// As [`Connection::put`], for an answer of any size.
    async fn put_data(&mut self, reply: Reply) -> Result<(), Hangup> {
        if reply.held_bytes() <= INLINE_ANSWER_BYTES_MAX {
            self.put(&reply);
            return Ok(());
        }
        self.end_run();
        let protocol = self.session.protocol();
        let mut out = self.wire.take_unsent();
        let out = aside(move || {
            encode(&reply, protocol, &mut out);
            out
        });
        self.wire.put_back(out.await?);
        Ok(())
    }

    /// Submits the job that was gathered, waits for it, and writes down its answers and those behind them. Ends the batch.
    async fn settle(&mut self) -> Result<(), Hangup> {
        self.end_run();
        self.batch_commands = 0;
        self.batch_bytes = 0;
        if self.job.steps.is_empty() {
            return Ok(());
        }
        self.reading = Duration::ZERO;
        let mut steps = std::mem::take(&mut self.job.steps);
        while !steps.is_empty() {
            let started = Instant::now();
            let submitted = self.submit(Job { steps });
            let Ok(outcome) = submitted.await else { return Err(self.shut_down().await) };
            if outcome.receipt.is_some() {
                self.session.receipt = outcome.receipt;
            }
            steps = outcome.rest;
            self.take_answers(outcome.replies, started.elapsed(), steps.is_empty()).await?;
        }
        Ok(())
    }

    /// Hands a job to the committer. A client that is alone may commit it in this thread, which saves waking others.
    fn submit(&self, job: Job) -> oneshot::Receiver<JobOutcome> {
        let db = &self.session.shared.db;
        match &self.seat {
            Seat::Shared { mailbox, .. } => db.submit_from(mailbox, job),
            Seat::Alone(_) if self.wire.is_alone() => db.submit_or_lead(job),
            Seat::Alone(_) => db.submit(job),
        }
    }

    /// Writes down a job's answers and those behind them; where they are not all, up to the first that is missing.
    async fn take_answers(&mut self, replies: Vec<Reply>, busy: Duration, all: bool) -> Result<(), Hangup> {
        let mut replies = replies.into_iter();
        while let Some(slot) = self.slots.pop_front() {
            match slot {
                Slot::Known(reply) => self.put_data(reply).await?,
                Slot::Job { .. } if !all && replies.len() == 0 => {
                    self.slots.push_front(slot);
                    break;
                }
                Slot::Job { counter, answered } => {
                    let reply = replies.next().unwrap_or_else(|| {
                        Reply::Error(CommandError::fixed("ERR no answer came from the committer: outcome unknown"))
                    });
                    self.session.shared.stats.executed(counter, busy, &reply);
                    if answered {
                        self.put_data(reply).await?;
                    }
                }
            }
            if self.wire.is_full() {
                self.wire.send().await?;
            }
        }
        Ok(())
    }

    /// The committer is gone: says so for everything that waits for it.
    async fn shut_down(&mut self) -> Hangup {
        let error = CommandError::fixed("ERR the server is shutting down; whether this was carried out is unknown");
        let waiting = self.slots.iter().filter(|slot| matches!(slot, Slot::Job { answered: true, .. })).count().max(1);
        self.slots.clear();
        for _ in 0..waiting {
            self.put(&Reply::Error(error.clone()));
        }
        match self.wire.send().await {
            Ok(()) => Hangup::ShuttingDown,
            Err(hangup) => hangup,
        }
    }
}

/// Does what may take long in another thread: the network thread goes on with others.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Hangup> {
    spawn_blocking(work).await.map_err(|error| if error.is_panic() { Hangup::Panicked } else { Hangup::ShuttingDown })
}
