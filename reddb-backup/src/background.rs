//! Work that must not be in the way of those who wait for answers.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;

/// How much a thread of this module stands back (`nice`): it gets what the others leave, and about a tenth of a busy processor.
const NICENESS: i32 = 10;

/// How many bytes of a file such a thread reads and hashes before it lets others run.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;
/// For how long it does; the system adds some fifty microseconds.
const PAUSE: Duration = Duration::from_micros(50);

/// Gives the processor to whoever waits for it. A niceness is not enough: Linux lets a thread run for the rest of its slice,
/// milliseconds, when a better one wakes up (`RUN_TO_PARITY`). Sleeping keeps the thread's claim to its share; `sched_yield` gives up a
/// slice each time, and halves the share where every processor is busy.
pub(crate) fn let_others_run() {
    std::thread::sleep(PAUSE);
}

/// Runs blocking work in a thread of its own, which stands back behind the process's other threads.
///
/// # Errors
/// Where no thread can be started, or the work panicked.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, io::Error> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new().name("reddb-background".to_owned()).spawn(move || {
        stand_back();
        // Who has gone away does not want the result.
        let _gone = done.send(work());
    })?;
    result.await.map_err(|_| io::Error::other("a background thread panicked"))
}

/// On Linux a thread has a niceness of its own.
#[cfg(target_os = "linux")]
fn stand_back() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "a background thread runs at the priority of all others");
    }
}

#[cfg(not(target_os = "linux"))]
fn stand_back() {}
