//! Waiting for something that the other process does not announce.

use std::time::{Duration, Instant};

/// How long anything may take that surely comes, on a busy machine with a slow disk: an archiver alone may wait half a minute
/// before it asks its store again. Reached only where a test fails.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Asks until there is an answer.
///
/// # Panics
/// When there was none within [`PATIENCE`]; the text names what was waited for.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", PATIENCE.as_secs());
        // Sleep: another process's progress is seen only by asking again.
        std::thread::sleep(Duration::from_millis(10));
    }
}
