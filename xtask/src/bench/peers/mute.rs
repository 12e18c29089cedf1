//! A server that does nothing but answer: what the load generator, and the way to it and back, allow at most.
//!
//! One thread waits for connections with bytes to read, counts the commands in them, and says `OK` to each. It keeps nothing, so no
//! server that does something for a command is asked faster than this one on the same machine.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::event::epoll::{Event, EventData, EventFlags};

const OK: &[u8] = b"+OK\r\n";

/// The most events that are taken at once.
const EVENTS_MAX: usize = 1024;

/// The event of the listener; connections have numbers from one on.
const LISTENER: u64 = 0;

/// The server, in a thread of this process, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Mute {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Mute {
    /// Starts it on a port of the system's choice.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn start() -> Result<Self, String> {
        let start = || -> std::io::Result<(SocketAddr, Loop)> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
            Ok((listener.local_addr()?, Loop { epoll, listener, connections: HashMap::new(), accepted: LISTENER }))
        };
        let (address, mut server) =
            start().map_err(|error| format!("cannot start a server that only answers: {error}"))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            server.run(&stop).map_err(|error| format!("the server that only answers ended: {error}"))
        });
        Ok(Self { address, stopped, thread: Some(thread) })
    }

    /// Stops it.
    ///
    /// # Errors
    /// It had ended by itself.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        self.end()
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes it; a server that has ended cannot be woken and need not be.
        drop(TcpStream::connect(self.address));
        thread.join().unwrap_or_else(|_| Err("the server that only answers panicked".to_owned()))
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        // Whoever wants to know has called `stop`.
        let _ = self.end();
    }
}

struct Loop {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: HashMap<u64, (TcpStream, Commands)>,
    accepted: u64,
}

impl Loop {
    fn run(&mut self, stopped: &AtomicBool) -> std::io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        let mut bytes = vec![0; 64 * 1024];
        let mut answers = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    number => self.answer(number, &mut bytes, &mut answers),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> std::io::Result<()> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nodelay(true)?;
        self.accepted += 1;
        epoll::add(&self.epoll, stream.as_fd(), EventData::new_u64(self.accepted), EventFlags::IN)?;
        self.connections.insert(self.accepted, (stream, Commands::default()));
        Ok(())
    }

    /// A connection that fails or ends is forgotten, which closes it.
    fn answer(&mut self, number: u64, bytes: &mut [u8], answers: &mut Vec<u8>) {
        let Some((stream, commands)) = self.connections.get_mut(&number) else { return };
        let open = stream.read(bytes).and_then(|read| {
            answers.clear();
            for _ in 0..commands.count(&bytes[..read]) {
                answers.extend_from_slice(OK);
            }
            stream.write_all(answers)?;
            Ok(read > 0)
        });
        if !open.unwrap_or(false) {
            self.connections.remove(&number);
        }
    }
}

/// Counts commands, arrays of bulk strings without line ends, however they are cut.
#[derive(Debug, Default)]
struct Commands {
    /// Lines of the command that are still to come.
    lines: u64,
    /// The number in the line that begins a command, as far as it was seen.
    strings: u64,
}

impl Commands {
    /// How many commands end in these bytes.
    fn count(&mut self, bytes: &[u8]) -> usize {
        let mut ended = 0;
        for byte in bytes {
            match (byte, self.lines) {
                (b'\n', 0) => {
                    self.lines = 2 * self.strings;
                    self.strings = 0;
                }
                (b'0'..=b'9', 0) => self.strings = 10 * self.strings + u64::from(byte - b'0'),
                (b'\n', left) => {
                    self.lines = left - 1;
                    ended += usize::from(left == 1);
                }
                _ => {}
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n*9\r\n*1\r\n$4\r\nPING\r\n";

    #[test]
    fn commands_are_counted_however_they_are_cut() {
        for cut in 0..=TWO.len() {
            let mut commands = Commands::default();
            let (first, second) = TWO.split_at(cut);
            assert_eq!(commands.count(first) + commands.count(second), 2, "cut at {cut}");
        }
    }

    #[test]
    fn every_command_gets_one_answer() {
        let server = Mute::start().unwrap();
        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(TWO).unwrap();
        let mut answers = [0; 2 * OK.len()];
        client.read_exact(&mut answers).unwrap();
        assert_eq!(answers, [OK, OK].concat()[..]);
        server.stop().unwrap();
    }
}
