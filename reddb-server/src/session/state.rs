//! One connection's own state, and what a session command may do with it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;

use super::clients::{Client, ClientNames};
use super::shared::Shared;
use crate::command::table::Resolved;
use crate::commit::{Receipt, Step, Watcher};
use crate::reply::{CommandError, Reply};
use crate::resp::limits::{WATCHED_BYTES_MAX, WATCHED_KEYS_MAX};
use crate::resp::{Protocol, Trust};

/// What comes of a session command.
#[derive(Debug)]
pub(crate) enum Answer {
    /// This, now.
    Reply(Reply),
    /// This, and then the connection is closed.
    Close(Reply),
    /// What the committer answers to this.
    Submit(Step),
    /// The answer needs waiting for.
    Later(Later),
}

/// An answer that needs waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    /// `WAIT` for replicas that do not exist; `None` for ever.
    Replicas(Option<Duration>),
    /// `SAVE`.
    Save,
    /// `RED.DIGEST`.
    Digest,
}

/// Which commands are answered: `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replying {
    /// All.
    On,
    /// All but the next one, once this command is done.
    SkipNext,
    /// All but this one.
    Skip,
    /// None.
    Off,
}

/// A command that waits for `EXEC`.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    /// The command.
    pub(super) resolved: Resolved,
    /// Its arguments.
    pub(super) args: Vec<Bytes>,
}

/// The most bytes of arguments that may wait for `EXEC`: more could never be logged as one record.
const QUEUED_BYTES_MAX: usize = crate::resp::limits::COMMAND_BYTES_MAX;

/// The most commands that may wait for `EXEC`.
const QUEUED_COMMANDS_MAX: usize = 1024 * 1024;

/// What was queued since `MULTI`.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// The commands.
    pub(super) commands: Vec<Queued>,
    /// A command was refused: `EXEC` will refuse too.
    pub(super) broken: bool,
    bytes: usize,
}

/// One connection's state.
pub(crate) struct Session {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Itself as others see it.
    pub client: Arc<Client>,
    db: u32,
    protocol: Protocol,
    authenticated: bool,
    replying: Replying,
    pub(super) queue: Option<Queue>,
    watcher: Option<Arc<Watcher>>,
    watched_keys: usize,
    watched_bytes: usize,
    pub(super) receipt: Option<Receipt>,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, client: Arc<Client>) -> Self {
        let authenticated = !shared.settings.is_guarded();
        Self {
            shared,
            client,
            db: 0,
            protocol: Protocol::Resp2,
            authenticated,
            replying: Replying::On,
            queue: None,
            watcher: None,
            watched_keys: 0,
            watched_bytes: 0,
            receipt: None,
        }
    }

    /// The selected database.
    #[must_use]
    pub(crate) const fn db(&self) -> u32 {
        self.db
    }

    /// Selects a database, whose number has been checked.
    pub(crate) fn select(&mut self, db: u32) {
        self.db = db;
        self.client.db.store(db, Relaxed);
    }

    /// The protocol version that answers are written in.
    #[must_use]
    pub(crate) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the protocol version.
    pub(crate) fn speak(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.client.protocol.store(protocol.number(), Relaxed);
    }

    /// Whether a password has to be given before anything else.
    #[must_use]
    pub(crate) fn needs_authentication(&self) -> bool {
        !self.authenticated && self.shared.settings.is_guarded()
    }

    pub(super) fn trust(&self) -> Trust {
        if self.needs_authentication() { Trust::Stranger } else { Trust::Known }
    }

    /// Lets the client in, if that is the user and the password.
    ///
    /// # Errors
    /// `WRONGPASS`.
    pub(crate) fn authenticate(&mut self, user: &[u8], password: &[u8]) -> Result<(), CommandError> {
        let right = self.shared.settings.password_is(password);
        if user != b"default" || !right {
            return Err(CommandError::fixed("WRONGPASS invalid username-password pair or user is disabled."));
        }
        self.authenticated = true;
        Ok(())
    }

    /// The commit that this connection made last.
    #[must_use]
    pub(crate) const fn receipt(&self) -> Option<Receipt> {
        self.receipt
    }

    /// Whether a `MULTI` is open.
    #[must_use]
    pub(crate) const fn in_multi(&self) -> bool {
        self.queue.is_some()
    }

    /// Opens a `MULTI`.
    pub(crate) fn begin_multi(&mut self) {
        self.queue = Some(Queue::default());
        self.client.queued.store(0, Relaxed);
    }

    /// Ends a `MULTI` and the watch, and forgets what was queued.
    pub(crate) fn discard_multi(&mut self) {
        self.take_queue();
        self.unwatch();
    }

    pub(super) fn take_queue(&mut self) -> Option<Queue> {
        self.client.queued.store(-1, Relaxed);
        self.queue.take()
    }

    /// Puts a command off until `EXEC`.
    pub(super) fn enqueue(&mut self, resolved: Resolved, args: Vec<Bytes>) -> Reply {
        let Some(queue) = &mut self.queue else {
            return Reply::Error(CommandError::fixed("ERR EXEC without MULTI"));
        };
        queue.bytes = args.iter().fold(queue.bytes, |bytes, arg| bytes.saturating_add(arg.len()));
        if queue.bytes > QUEUED_BYTES_MAX || queue.commands.len() >= QUEUED_COMMANDS_MAX {
            queue.broken = true;
            queue.commands = Vec::new();
            return Reply::Error(CommandError::fixed("ERR the transaction is larger than one record may be"));
        }
        queue.commands.push(Queued { resolved, args });
        self.client.queued.store(i64::try_from(queue.commands.len()).unwrap_or(i64::MAX), Relaxed);
        Reply::Simple("QUEUED".into())
    }

    /// A command was refused: if a `MULTI` is open, its `EXEC` will refuse too.
    pub(super) fn refuse_exec(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.broken = true;
        }
    }

    /// The connection's watch, begun if there is none, for these keys beside those that it has.
    ///
    /// # Errors
    /// Where it would watch too many; then it watches none of these.
    pub(crate) fn watch(&mut self, keys: &[Bytes]) -> Result<Arc<Watcher>, CommandError> {
        let watched_keys = self.watched_keys.saturating_add(keys.len());
        let watched_bytes = keys.iter().fold(self.watched_bytes, |bytes, key| bytes.saturating_add(key.len()));
        if watched_keys > WATCHED_KEYS_MAX || watched_bytes > WATCHED_BYTES_MAX {
            return Err(CommandError::new(format!(
                "ERR a connection may watch {WATCHED_KEYS_MAX} keys with {WATCHED_BYTES_MAX} bytes of names; EXEC, DISCARD \
                 or UNWATCH ends the watch"
            )));
        }
        (self.watched_keys, self.watched_bytes) = (watched_keys, watched_bytes);
        self.client.watches.store(true, Relaxed);
        Ok(Arc::clone(self.watcher.get_or_insert_with(Watcher::new)))
    }

    pub(super) fn take_watcher(&mut self) -> Option<Arc<Watcher>> {
        self.client.watches.store(false, Relaxed);
        (self.watched_keys, self.watched_bytes) = (0, 0);
        self.watcher.take()
    }

    /// Ends the connection's watch.
    pub(crate) fn unwatch(&mut self) {
        self.take_watcher();
    }

    /// `CLIENT REPLY ON`.
    pub(crate) const fn reply_on(&mut self) {
        self.replying = Replying::On;
    }

    /// `CLIENT REPLY OFF`.
    pub(crate) const fn reply_off(&mut self) {
        self.replying = Replying::Off;
    }

    /// `CLIENT REPLY SKIP`; nothing where replies are off.
    pub(crate) fn skip_next_reply(&mut self) {
        if self.replying != Replying::Off {
            self.replying = Replying::SkipNext;
        }
    }

    /// Whether the command just carried out is to be answered; goes on to the next one.
    pub(super) const fn next_is_answered(&mut self) -> bool {
        match self.replying {
            Replying::On => true,
            Replying::Off => false,
            Replying::SkipNext => {
                self.replying = Replying::Skip;
                false
            }
            Replying::Skip => {
                self.replying = Replying::On;
                false
            }
        }
    }

    /// `RESET`: the state of a new connection, its number and receipt aside.
    pub(crate) fn reset(&mut self) {
        self.discard_multi();
        self.select(0);
        self.speak(Protocol::Resp2);
        self.authenticated = !self.shared.settings.is_guarded();
        self.replying = Replying::On;
        self.client.names.lock().name.clear();
        self.client.no_evict.store(false, Relaxed);
    }

    /// What a transaction that came to nothing must leave as it was.
    pub(super) fn checkpoint(&self) -> SessionCheckpoint {
        SessionCheckpoint {
            db: self.db,
            protocol: self.protocol,
            authenticated: self.authenticated,
            names: self.client.names.lock().clone(),
        }
    }

    pub(super) fn restore(&mut self, before: SessionCheckpoint) {
        self.select(before.db);
        self.speak(before.protocol);
        self.authenticated = before.authenticated;
        *self.client.names.lock() = before.names;
    }
}

/// See [`Session::checkpoint`].
pub(super) struct SessionCheckpoint {
    db: u32,
    protocol: Protocol,
    authenticated: bool,
    names: ClientNames,
}
