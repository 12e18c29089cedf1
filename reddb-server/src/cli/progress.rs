//! Progress of long work on a terminal: bytes and their rate, or things where nobody counts bytes, and what remains. Where stderr
//! is no terminal, nothing is written.

use std::io::IsTerminal as _;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use reddb_backup::progress::{Phase, Progress, ProgressReport, Silent};

const BYTES: &str = "{prefix:>9} {bar:30} {bytes}/{total_bytes} at {binary_bytes_per_sec}, {eta} left ({msg})";
const ITEMS: &str = "{prefix:>9} {bar:30} {pos} of {len}, {eta} left";
const REFRESH_HZ: u8 = 4;

/// Somebody who watches, if there is a terminal.
#[must_use]
pub(crate) fn watcher() -> Arc<dyn Progress> {
    on_terminal().unwrap_or_else(Silent::shared)
}

/// Bars, where stderr is a terminal.
#[must_use]
pub(crate) fn on_terminal() -> Option<Arc<dyn Progress>> {
    std::io::stderr().is_terminal().then(|| Arc::new(Bars { current: Mutex::new(None) }) as _)
}

struct Bars {
    current: Mutex<Option<(Phase, ProgressBar)>>,
}

impl Progress for Bars {
    fn report(&self, report: ProgressReport) {
        let mut current = self.current.lock();
        if current.as_ref().is_none_or(|(phase, _)| *phase != report.phase) {
            if let Some((_, bar)) = current.take() {
                bar.finish_and_clear();
            }
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(REFRESH_HZ));
            // A template that indicatif refuses would only cost the looks.
            let template = if counts_bytes(report.phase) { BYTES } else { ITEMS };
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(name(report.phase));
            *current = Some((report.phase, bar));
        }
        if let Some((_, bar)) = current.as_ref() {
            let (done, total) = shown(&report);
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(format!("{} of {}", report.items_done, report.items_total));
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some((_, bar)) = self.current.lock().take() {
            bar.finish_and_clear();
        }
    }
}

/// Documents and files to sync are many and small: their number says more than their size, which nobody sums up.
const fn counts_bytes(phase: Phase) -> bool {
    match phase {
        Phase::Files | Phase::Segments => true,
        Phase::Documents | Phase::Sync => false,
    }
}

/// How much is done, and of how much.
const fn shown(report: &ProgressReport) -> (u64, u64) {
    if counts_bytes(report.phase) {
        (report.bytes_done, report.bytes_total)
    } else {
        (report.items_done, report.items_total)
    }
}

const fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Documents => "documents",
        Phase::Files => "files",
        Phase::Segments => "segments",
        Phase::Sync => "sync",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_without_bytes_counts_its_items() {
        let report = |phase| ProgressReport { phase, items_done: 3, items_total: 7, bytes_done: 10, bytes_total: 20 };
        assert_eq!(shown(&report(Phase::Segments)), (10, 20));
        assert_eq!(shown(&report(Phase::Documents)), (3, 7));
        for template in [BYTES, ITEMS] {
            ProgressStyle::with_template(template).expect("a template");
        }
    }
}
