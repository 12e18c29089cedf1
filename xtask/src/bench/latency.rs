//! Latency over time: clients in a closed loop, whose every answer is remembered with its moment, so that one can ask
//! afterwards what it was like during something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bench::load::{VALUE_BYTES, key, value};
use crate::bench::resp::Client;

/// What the clients do, on keys below the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// GET.
    Get(u64),
    /// SET of a value of the usual size.
    Set(u64),
}

/// One answer: when the command was sent, and how long its answer took.
type Answer = (Instant, Duration);

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<Vec<Answer>, String>>>,
}

impl Probe {
    /// Connects so many clients and sets them to work.
    ///
    /// # Errors
    /// A connection is refused.
    pub(crate) fn start(address: SocketAddr, clients: u64, work: Work) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let connections: Vec<Client> = (0..clients).map(|_| Client::connect(address)).collect::<Result<_, _>>()?;
        let clients = (1..).zip(connections).map(|(number, client)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || run(client, number, work, &stop))
        });
        Ok(Self { clients: clients.collect(), stop })
    }

    /// Ends the work and returns every answer.
    ///
    /// # Errors
    /// A client failed.
    pub(crate) fn stop(self) -> Result<Answers, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut answers = Vec::new();
        for client in self.clients {
            answers.extend(client.join().map_err(|_| "a client panicked".to_owned())??);
        }
        Ok(Answers(answers))
    }
}

fn run(mut client: Client, number: u64, work: Work, stop: &AtomicBool) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    while !stop.load(Ordering::Relaxed) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let started = Instant::now();
        match work {
            Work::Get(keys) => client.call(&["GET", &key(state % keys)])?,
            Work::Set(keys) => {
                client.call(&[b"SET".as_slice(), key(state % keys).as_bytes(), &value(state, VALUE_BYTES)])?
            }
        };
        answers.push((started, started.elapsed()));
    }
    Ok(answers)
}

/// Every answer of a [`Probe`].
#[derive(Debug, Clone)]
pub(crate) struct Answers(Vec<Answer>);

impl Answers {
    /// How long 99 of 100 answers took at most, in milliseconds, among commands that were under way within a span of time;
    /// `None` where there was none.
    pub(crate) fn p99_ms(&self, span: (Instant, Instant)) -> Option<f64> {
        let within = self.0.iter().filter(|(sent, took)| *sent <= span.1 && *sent + *took >= span.0);
        percentile_ms(within.map(|(_, took)| *took).collect(), 99)
    }
}

/// The duration that so many of 100 do not exceed, in milliseconds; `None` of nothing.
pub(crate) fn percentile_ms(mut durations: Vec<Duration>, percent: usize) -> Option<f64> {
    durations.sort_unstable();
    let rank = (durations.len() * percent).div_ceil(100).max(1);
    durations.get(rank - 1).map(|duration| duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let hundred: Vec<Duration> = (1..=100).rev().map(ms).collect();
        assert_eq!(percentile_ms(hundred.clone(), 99), Some(99.0));
        assert_eq!(percentile_ms(hundred, 50), Some(50.0));
        assert_eq!(percentile_ms(vec![ms(7)], 99), Some(7.0));
        assert_eq!(percentile_ms(vec![], 99), None);
    }

    #[test]
    fn answers_count_where_they_were_under_way() {
        let start = Instant::now();
        let answers = Answers(vec![(start, ms(10)), (start + ms(100), ms(50)), (start + ms(300), ms(1))]);
        assert_eq!(answers.p99_ms((start, start + ms(20))), Some(10.0));
        // Sent before the span and answered in it.
        assert_eq!(answers.p99_ms((start + ms(120), start + ms(130))), Some(50.0));
        assert_eq!(answers.p99_ms((start + ms(200), start + ms(250))), None);
    }
}
