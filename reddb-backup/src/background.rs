//! Work that must not be in the way of those who wait for answers.

use std::io;

use tokio::sync::oneshot;

/// How much a thread of this module stands back (`nice`): it gets what the others leave, and about a tenth of a busy processor.
const NICENESS: i32 = 10;

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
