//! Load: a dataset sent in pipelines, and redis-benchmark, told what to do and read.
//!
//! Keys are those of redis-benchmark with `-r` (`key:000000000042`), so that what one wrote the other reads. Every value is
//! different and hardly compressible: 64 characters, six bits each.

use std::net::SocketAddr;
use std::process::Command;

use crate::bench::guard;
use crate::bench::resp::Client;

/// The program that generates load.
pub(crate) const GENERATOR: &str = "redis-benchmark";

/// How long redis-benchmark may take: it waits for ever for a server that does not answer.
const GENERATE_SECONDS_MAX: &str = "900";

/// The size of a value, in bytes, wherever a row says nothing else.
pub(crate) const VALUE_BYTES: usize = 100;

/// Commands in one pipeline of [`fill`].
const PIPELINE: u64 = 512;

/// What redis-benchmark is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Generate {
    /// `set` or `get`.
    pub(crate) command: &'static str,
    /// Connections.
    pub(crate) clients: u32,
    /// Commands in a pipeline.
    pub(crate) pipeline: u32,
    /// Commands altogether.
    pub(crate) requests: u64,
    /// How many different keys.
    pub(crate) keys: u64,
}

/// What redis-benchmark measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Generated {
    /// Commands a second.
    pub(crate) per_second: f64,
    /// Half of them took no longer, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 of 100 took no longer, in milliseconds.
    pub(crate) p99_ms: f64,
}

/// Runs redis-benchmark to its end.
///
/// # Errors
/// It failed, or printed something else than its table.
pub(crate) fn generate(address: SocketAddr, load: Generate) -> Result<Generated, String> {
    let text = guard::capture(&mut command(address, load))?;
    parse(&text).ok_or_else(|| format!("{GENERATOR} printed no table:\n{text}"))
}

/// redis-benchmark, with its arguments.
pub(crate) fn command(address: SocketAddr, load: Generate) -> Command {
    let Generate { command: name, clients, pipeline, requests, keys } = load;
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", GENERATE_SECONDS_MAX, GENERATOR]);
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string(), "--csv", "-t", name]);
    command.args(["-d", &VALUE_BYTES.to_string(), "-r", &keys.to_string(), "-n", &requests.to_string()]);
    command.args(["-c", &clients.to_string(), "-P", &pipeline.to_string()]);
    command
}

/// The one line below the header, by the header's names.
fn parse(text: &str) -> Option<Generated> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("\"test\","));
    let names: Vec<&str> = lines.next()?.split(',').map(|cell| cell.trim_matches('"')).collect();
    let cells: Vec<&str> = lines.next()?.split(',').map(|cell| cell.trim_matches('"')).collect();
    let cell = |name: &str| {
        let index = names.iter().position(|found| *found == name)?;
        cells.get(index)?.parse::<f64>().ok()
    };
    Some(Generated { per_second: cell("rps")?, p50_ms: cell("p50_latency_ms")?, p99_ms: cell("p99_latency_ms")? })
}

/// Keys `first` to `first + count`, each once, in an order without order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dataset {
    /// The number of the first key.
    pub(crate) first: u64,
    /// How many.
    pub(crate) count: u64,
    /// The size of a value.
    pub(crate) value_bytes: usize,
}

impl Dataset {
    /// So many keys, from the first one on, with values of the usual size.
    pub(crate) const fn of(count: u64) -> Self {
        Self { first: 0, count, value_bytes: VALUE_BYTES }
    }

    /// The bytes of all keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        self.count * (key(0).len() + self.value_bytes) as u64
    }

    /// The number of the key at a place in the order: a walk by a prime that does not divide the count visits each once.
    fn key_at(&self, place: u64) -> u64 {
        const STRIDES: [u64; 2] = [2_654_435_761, 2_654_435_789];
        let stride = if self.count.is_multiple_of(STRIDES[0]) { STRIDES[1] } else { STRIDES[0] };
        let walked = u128::from(place) * u128::from(stride) % u128::from(self.count.max(1));
        self.first + u64::try_from(walked).expect("a remainder is less than its divisor, which is a u64")
    }
}

/// Sends a dataset, a pipeline at a time.
///
/// # Errors
/// The connection failed, or the server refused a write.
pub(crate) fn fill(address: SocketAddr, data: Dataset) -> Result<(), String> {
    let mut client = Client::connect(address)?;
    let mut place = 0;
    while place < data.count {
        let end = (place + PIPELINE).min(data.count);
        for at in place..end {
            let number = data.key_at(at);
            client.add(&[b"SET".as_slice(), key(number).as_bytes(), &value(number, data.value_bytes)]);
        }
        client.flush()?;
        for _ in place..end {
            client.read()?;
        }
        place = end;
    }
    Ok(())
}

/// The key of a number.
pub(crate) fn key(number: u64) -> String {
    format!("key:{number:012}")
}

/// The value of a number: the same number, the same value.
pub(crate) fn value(number: u64, bytes: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // Odd times not nothing is not nothing: the generator below needs that.
    let mut state = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut value = Vec::with_capacity(bytes);
    while value.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut bits = state >> 4;
        for _ in 0..10.min(bytes - value.len()) {
            value.push(ALPHABET[(bits & 63) as usize]);
            bits >>= 6;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_generators_table_is_read_by_its_names() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\
                    \"p99_latency_ms\",\"max_latency_ms\"\n\
                    \"SET\",\"44464.20\",\"0.899\",\"0.224\",\"0.863\",\"1.199\",\"2.847\",\"26.575\"\n";
        assert_eq!(parse(text), Some(Generated { per_second: 44_464.2, p50_ms: 0.863, p99_ms: 2.847 }));
        assert_eq!(parse("Could not connect to Redis at 127.0.0.1:1: Connection refused\n"), None);
        assert_eq!(parse("\"test\",\"rps\"\n\"SET\",\"1\"\n"), None);
    }

    #[test]
    fn every_key_comes_once_and_not_in_order() {
        let data = Dataset { first: 7, count: 1000, value_bytes: 1 };
        let order: Vec<u64> = (0..data.count).map(|place| data.key_at(place)).collect();
        assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), (7..1007).collect());
        assert!(order.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count() < 10);
    }

    #[test]
    fn values_differ_and_have_their_size() {
        assert_eq!(value(1, VALUE_BYTES).len(), VALUE_BYTES);
        let values: BTreeSet<Vec<u8>> = (0..1000).map(|number| value(number, 20)).collect();
        assert_eq!(values.len(), 1000);
        assert_eq!(value(5, 33), value(5, 33));
    }
}
