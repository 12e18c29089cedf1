//! The engine's two threads: one flushes sealed memtables, one compacts tables.
//!
//! Messages are closed enums over channels of bounded length; "there is work" is sent without waiting, since one such message
//! in the channel is as good as many. Shutdown: each thread is told to stop, finishes the step it is at, and is joined.
//! A failure that is not want of space, and every panic, is a fault of the engine; want of space is tried again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use super::core::Core;
use super::lsm::CompactionStep;
use super::{EngineError, EngineFault};

const FLUSH_THREAD: &str = "reddb-flush";
const COMPACT_THREAD: &str = "reddb-compact";
/// How long to wait before what failed for want of space is tried again.
const SPACE_RETRY: Duration = Duration::from_secs(1);
/// How often states that past reads needed are looked for when nothing else happens.
const TICK: Duration = Duration::from_secs(1);

/// What a thread is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    /// There may be work.
    Work,
    /// Stop.
    Stop,
}

/// The sending ends.
pub(super) struct Signals {
    flush: Sender<Message>,
    compact: Sender<Message>,
    stopping: AtomicBool,
}

/// The receiving ends, before the threads have started.
pub(super) struct Inboxes {
    flush: Receiver<Message>,
    compact: Receiver<Message>,
}

impl Signals {
    /// The channels.
    pub(super) fn new() -> (Self, Inboxes) {
        let (flush, flush_inbox) = bounded(1);
        let (compact, compact_inbox) = bounded(1);
        (
            Self { flush, compact, stopping: AtomicBool::new(false) },
            Inboxes { flush: flush_inbox, compact: compact_inbox },
        )
    }

    /// There is a sealed memtable.
    pub(super) fn flush(&self) {
        // Full means that the message is there already; disconnected, that the thread has ended, which is a fault or the end.
        let _ = self.flush.try_send(Message::Work);
    }

    /// There may be something to compact.
    pub(super) fn compact(&self) {
        let _ = self.compact.try_send(Message::Work);
    }
}

/// The running threads.
pub(super) struct Background {
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Background {
    /// Starts the threads.
    pub(super) fn start(core: &Arc<Core>, inboxes: Inboxes) -> Result<Self, EngineError> {
        let background = Self { threads: Mutex::new(Vec::with_capacity(2)) };
        let started = background
            .spawn(FLUSH_THREAD, core, move |core| flush_loop(core, &inboxes.flush))
            .and_then(|()| background.spawn(COMPACT_THREAD, core, move |core| compact_loop(core, &inboxes.compact)));
        if let Err(source) = started {
            background.stop(core);
            return Err(EngineError::Thread { source });
        }
        core.signals().compact();
        Ok(background)
    }

    fn spawn(
        &self,
        name: &'static str,
        core: &Arc<Core>,
        body: impl FnOnce(&Core) -> Result<(), EngineError> + Send + 'static,
    ) -> std::io::Result<()> {
        let core = Arc::clone(core);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            match catch_unwind(AssertUnwindSafe(|| body(&core))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    core.fail(EngineFault::new(name, error.to_string()));
                }
                Err(panic) => {
                    core.fail_with_panic(name, panic.as_ref());
                }
            }
        })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Stops the threads and waits for them. Doing so again does nothing.
    pub(super) fn stop(&self, core: &Core) {
        let mut threads = self.threads.lock();
        if threads.is_empty() {
            return;
        }
        core.signals().stopping.store(true, Ordering::Release);
        // A thread that has ended has no inbox any more.
        let _ = core.signals().flush.send(Message::Stop);
        let _ = core.signals().compact.send(Message::Stop);
        for thread in threads.drain(..) {
            // Panics are caught and recorded inside the thread.
            let _ = thread.join();
        }
    }
}

fn flush_loop(core: &Core, inbox: &Receiver<Message>) -> Result<(), EngineError> {
    let mut retry = false;
    loop {
        match next(inbox, if retry { SPACE_RETRY } else { TICK }) {
            Some(Message::Stop) => return Ok(()),
            None if !retry => continue,
            Some(Message::Work) | None => {}
        }
        retry = match core.flush_in_background() {
            Ok(()) => false,
            Err(error) if may_resolve(&error) => {
                if !retry {
                    tracing::warn!(%error, "a flush waits");
                }
                true
            }
            Err(error) => return Err(error),
        };
    }
}

fn compact_loop(core: &Core, inbox: &Receiver<Message>) -> Result<(), EngineError> {
    let mut retry = false;
    loop {
        match next(inbox, TICK) {
            Some(Message::Stop) => return Ok(()),
            None if !retry => {
                core.forget_states()?;
                continue;
            }
            Some(Message::Work) | None => {}
        }
        let waited = std::mem::take(&mut retry);
        while !core.signals().stopping.load(Ordering::Acquire) {
            match core.compact_in_background() {
                Ok(CompactionStep::Progress) => {}
                Ok(CompactionStep::Idle) => break,
                Err(error) if may_resolve(&error) => {
                    if !waited {
                        tracing::warn!(%error, "a compaction waits");
                    }
                    retry = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The next message, or none within `wait`. An inbox without senders says stop.
fn next(inbox: &Receiver<Message>, wait: Duration) -> Option<Message> {
    match inbox.recv_timeout(wait) {
        Ok(message) => Some(message),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
    }
}

/// Whether time alone may resolve the failure.
fn may_resolve(error: &EngineError) -> bool {
    error.is_out_of_space() || matches!(error, EngineError::SequenceExhausted { .. })
}
