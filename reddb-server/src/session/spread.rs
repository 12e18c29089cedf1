//! Whether the connections are gathered in one network thread or spread over all of them (ADR 6).
//!
//! One thread finds more that is ready at a time, and so wakes clients and the committer less often for as many commands; several
//! can do more, where there are cores for them. So the connections are gathered until their thread hardly ever waits for them
//! while a core is free, and spread until what all threads do together would fit into one.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often the threads are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// A thread is saturated when it waited for its connections for less than this share of the time. Not zero: to learn which of
/// many have sent something takes so long.
const IDLE_MIN: f64 = 0.1;

/// A further thread gets something done where cores were free for so long, of the time of one.
const FREE_CORES_MIN: f64 = 0.3;

/// After so many looks in a row that found a thread saturated, and did not find that no core was free, the connections are spread.
/// The first of them cannot tell.
const SATURATED_LOOKS: u32 = 3;

/// After so many looks in a row in which all threads together worked for less than one thread's time they are gathered.
const CALM_LOOKS: u32 = 20;

/// Where gathering them soon saturated their thread it is tried again after twice as many looks, up to so many.
const CALM_LOOKS_MAX: u32 = 1280;

/// For how long a network thread has waited for its connections. What else it waits for is work: it could serve nobody meanwhile.
#[derive(Debug, Default)]
pub(super) struct IdleTime(Mutex<Waits>);

#[derive(Debug, Default)]
struct Waits {
    ended: Duration,
    /// When the one began that goes on.
    since: Option<Instant>,
}

impl IdleTime {
    /// The thread begins to wait.
    pub(super) fn begin(&self, now: Instant) {
        self.0.lock().since = Some(now);
    }

    /// It has something to do.
    pub(super) fn end(&self, now: Instant) {
        let mut waits = self.0.lock();
        let wait = waits.since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        waits.ended += wait;
    }

    /// For how long it has waited until now.
    pub(super) fn total(&self, now: Instant) -> Duration {
        let waits = self.0.lock();
        waits.ended + waits.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// What the machine's cores have done since it started, as `/proc/stat` has it (proc_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CoreTimes {
    cores: u32,
    /// Of all cores together, as `all_ticks`; waiting for the disk included.
    free_ticks: u64,
    all_ticks: u64,
}

impl CoreTimes {
    fn parse(stat: &str) -> Option<Self> {
        let mut lines = stat.lines();
        let ticks = lines.next()?.strip_prefix("cpu ")?.split_ascii_whitespace().map(str::parse::<u64>);
        // user, nice, system, idle, iowait, irq, softirq, steal; the others are parts of these.
        let ticks: Vec<u64> = ticks.take(8).collect::<Result<_, _>>().ok()?;
        let free_ticks = ticks.get(3)?.saturating_add(*ticks.get(4)?);
        let cores = u32::try_from(lines.take_while(|line| line.starts_with("cpu")).count()).ok()?;
        Some(Self { cores, free_ticks, all_ticks: ticks.iter().sum() })
    }

    /// How many cores were free since an earlier moment, on average.
    fn free_since(self, before: Self) -> f64 {
        let all = self.all_ticks.saturating_sub(before.all_ticks).max(1);
        let free = self.free_ticks.saturating_sub(before.free_ticks);
        f64::from(self.cores) * Duration::from_secs(free).div_duration_f64(Duration::from_secs(all))
    }
}

/// How many cores are free, from one look to the next.
#[derive(Debug, Default)]
pub(super) struct FreeCores {
    before: Option<CoreTimes>,
    newest: Option<CoreTimes>,
}

impl FreeCores {
    /// How many were since the last look; `None` where nobody knows, as at the first look that asks. Only asking costs anything.
    pub(super) fn ask(&mut self) -> Option<f64> {
        self.newest = CoreTimes::parse(&std::fs::read_to_string("/proc/stat").ok()?);
        Some(self.newest?.free_since(self.before?))
    }

    /// A look is over.
    pub(super) fn looked(&mut self) {
        self.before = self.newest.take();
    }
}

/// Decides, from one look to the next.
#[derive(Debug)]
pub(super) struct Spread {
    spread: bool,
    /// Looks since that was decided.
    looks: u32,
    /// The last looks, in a row, that found that it should be the other way.
    against: u32,
    /// How many of them gather the connections.
    calm_looks: u32,
}

impl Default for Spread {
    fn default() -> Self {
        // As if they had been gathered for long: the first load is not one for which gathering failed.
        Self { spread: false, looks: CALM_LOOKS, against: 0, calm_looks: CALM_LOOKS }
    }
}

impl Spread {
    /// Whether the connections are to be spread, after a look that found each thread idle for this share of the time since
    /// the last one, from 0 to 1. How many cores were free is asked only where it matters; `None` where nobody knows.
    pub(super) fn look(&mut self, idle: &[f64], free_cores: impl FnOnce() -> Option<f64>) -> bool {
        let saturated = idle.iter().any(|idle| *idle < IDLE_MIN);
        let (against, enough) = if self.spread {
            let calm = !saturated && idle.iter().map(|idle| 1.0 - idle).sum::<f64>() < 1.0;
            (calm, self.calm_looks)
        } else {
            (saturated && free_cores().is_none_or(|free| free > FREE_CORES_MIN), SATURATED_LOOKS)
        };
        self.looks = self.looks.saturating_add(1);
        self.against = if against { self.against + 1 } else { 0 };
        if self.against >= enough {
            if !self.spread {
                let soon = self.looks <= CALM_LOOKS;
                self.calm_looks = if soon { (self.calm_looks * 2).min(CALM_LOOKS_MAX) } else { CALM_LOOKS };
            }
            *self = Self { spread: !self.spread, looks: 0, against: 0, ..*self };
        }
        self.spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_counts_while_it_goes_on_and_after() {
        let idle = IdleTime::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(idle.total(at(5)), Duration::ZERO);
        idle.begin(at(10));
        assert_eq!(idle.total(at(30)), Duration::from_millis(20));
        idle.end(at(40));
        assert_eq!(idle.total(at(100)), Duration::from_millis(30));
        idle.begin(at(100));
        // A look that read the clock before the wait began.
        assert_eq!(idle.total(at(99)), Duration::from_millis(30));
        idle.end(at(101));
        assert_eq!(idle.total(at(200)), Duration::from_millis(31));
    }

    #[test]
    fn the_machine_says_how_many_cores_are_free() {
        let text = "cpu  10 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1 2 3\nintr 99 cpu7\n";
        let before = CoreTimes::parse(text).expect("as Linux writes it");
        assert_eq!(before, CoreTimes { cores: 2, free_ticks: 450, all_ticks: 531 });
        let after = CoreTimes { cores: 2, free_ticks: 465, all_ticks: 591 };
        assert_eq!(after.free_since(before), 0.5);
        assert_eq!(before.free_since(before), 0.0);
        for bad in ["", "cpu", "cpu  1 2 3 4", "cpu  1 2 3 4 x 6 7 8", "intr 1 2 3 4 5 6 7 8"] {
            assert_eq!(CoreTimes::parse(bad), None, "{bad:?}");
        }
        let mut cores = FreeCores::default();
        assert_eq!(cores.ask(), None, "since when?");
        cores.looked();
        assert!(cores.ask().is_some_and(|free| free >= 0.0), "this is Linux");
        cores.looked();
        cores.looked();
        assert_eq!(cores.ask(), None, "the last look did not ask");
    }

    /// Looks so often, and says after how many it was decided to spread the connections, or to gather them.
    fn decides(spread: &mut Spread, looks: u32, idle: &[f64]) -> Option<(u32, bool)> {
        let before = spread.spread;
        (1..=looks).find_map(|look| (spread.look(idle, || Some(1.0)) != before).then_some((look, !before)))
    }

    #[test]
    fn connections_are_spread_while_one_thread_is_too_few() {
        let mut spread = Spread::default();
        assert_eq!(decides(&mut spread, 99, &[1.0, 1.0, 1.0]), None, "nobody does anything");
        assert_eq!(decides(&mut spread, 99, &[0.1, 1.0, 1.0]), None, "one thread is enough");
        assert_eq!(decides(&mut spread, SATURATED_LOOKS - 1, &[0.0, 1.0, 1.0]), None, "a moment");
        assert_eq!(decides(&mut spread, 1, &[0.5, 1.0, 1.0]), None);
        assert_eq!(decides(&mut spread, 99, &[0.05, 1.0, 1.0]), Some((SATURATED_LOOKS, true)));
        assert_eq!(decides(&mut spread, 99, &[0.6, 0.6, 0.6]), None, "one thread would be too few again");
        assert_eq!(
            decides(&mut spread, 99, &[0.01, 1.0, 1.0]),
            None,
            "one client saturates its thread: the others keep away"
        );
    }

    #[test]
    fn connections_are_not_spread_where_no_core_is_free() {
        let mut spread = Spread::default();
        for _ in 0..9 {
            assert!(!spread.look(&[0.0, 1.0], || Some(0.2)));
        }
        assert!(!spread.look(&[0.0, 1.0], || None), "nobody knows");
        assert!(!spread.look(&[0.0, 1.0], || Some(0.5)));
        assert!(spread.look(&[0.0, 1.0], || Some(0.5)));
        assert!(spread.look(&[0.0, 0.0], || panic!("it does not matter now")));
    }

    #[test]
    fn connections_are_gathered_when_they_fit_into_one_thread_for_long() {
        let mut spread = Spread::default();
        decides(&mut spread, 99, &[0.0, 1.0]).expect("saturated");
        assert_eq!(decides(&mut spread, CALM_LOOKS - 1, &[0.7, 0.5]), None);
        assert_eq!(decides(&mut spread, 1, &[0.4, 0.4]), None);
        assert_eq!(decides(&mut spread, 99, &[0.7, 0.5]), Some((CALM_LOOKS, false)));
        assert_eq!(decides(&mut spread, 99, &[0.2, 1.0]), None);
    }

    #[test]
    fn gathering_that_fails_is_tried_less_and_less_often() {
        let mut spread = Spread::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            decides(&mut spread, 99, &[0.0, 1.0]).expect("saturated");
            let (looks, _) = decides(&mut spread, 9999, &[0.6, 0.6]).expect("calm");
            waits.push(looks);
        }
        assert_eq!(waits, [20, 40, 80, 160, 320, 640, 1280, 1280, 1280]);
        // It lasts: the next load is another one.
        assert_eq!(decides(&mut spread, CALM_LOOKS, &[0.2, 1.0]), None);
        decides(&mut spread, 99, &[0.0, 1.0]).expect("saturated");
        assert_eq!(decides(&mut spread, 9999, &[0.6, 0.6]), Some((CALM_LOOKS, false)));
    }
}
