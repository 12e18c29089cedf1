//! A small blocking client of the Redis protocol: what is measured beside the load generator.
//!
//! Sends commands, alone or in pipelines, and reads RESP2 replies. An error reply is an error here: a benchmark of refusals
//! would measure nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No reply takes longer.
const REPLY_MAX: Duration = Duration::from_secs(600);

/// Longest reply that is read, in bytes.
const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;

/// A reply, as far as a benchmark looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A simple string, a bulk string, or none.
    Text(Option<Vec<u8>>),
    /// An integer.
    Integer(i64),
    /// An array; none counts as empty.
    Array(Vec<Reply>),
}

impl Reply {
    /// The integer.
    ///
    /// # Errors
    /// The reply is something else.
    pub(crate) fn integer(&self) -> Result<i64, String> {
        match self {
            Self::Integer(integer) => Ok(*integer),
            other => Err(format!("not an integer: {other:?}")),
        }
    }

    /// An element of an array.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn item(&self, index: usize) -> Result<&Self, String> {
        match self {
            Self::Array(items) => items.get(index).ok_or_else(|| format!("no element {index} of {}", items.len())),
            other => Err(format!("not an array: {other:?}")),
        }
    }

    /// A text, or nothing of it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Integer(integer) => integer.to_string(),
            Self::Text(None) | Self::Array(_) => String::new(),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("cannot connect to {address}: {error}");
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).map_err(fault)?;
        stream.set_nodelay(true).map_err(fault)?;
        stream.set_read_timeout(Some(REPLY_MAX)).map_err(fault)?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, stream), buffer: Vec::new() })
    }

    /// Sends one command and reads its reply.
    ///
    /// # Errors
    /// The connection failed, or the reply is an error.
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Result<Reply, String> {
        self.add(command);
        self.flush()?;
        self.read()
    }

    /// Adds a command to what [`Self::flush`] sends.
    pub(crate) fn add<A: AsRef<[u8]>>(&mut self, command: &[A]) {
        self.buffer.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
        for word in command {
            let word = word.as_ref();
            self.buffer.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.buffer.extend_from_slice(word);
            self.buffer.extend_from_slice(b"\r\n");
        }
    }

    /// Sends what was added.
    ///
    /// # Errors
    /// The connection failed.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        let sent = self.reader.get_mut().write_all(&self.buffer);
        self.buffer.clear();
        sent.map_err(|error| format!("cannot send: {error}"))
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// The connection failed, or the reply is an error.
    pub(crate) fn read(&mut self) -> Result<Reply, String> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or("an empty line instead of a reply")?;
        let number = || rest.parse::<i64>().map_err(|_| format!("not a number: {rest}"));
        match kind {
            "+" => Ok(Reply::Text(Some(rest.as_bytes().to_vec()))),
            "-" => Err(format!("the server answered: {rest}")),
            ":" => Ok(Reply::Integer(number()?)),
            "$" => match usize::try_from(number()?) {
                Err(_) => Ok(Reply::Text(None)),
                Ok(length) if length <= BULK_BYTES_MAX => self.bytes(length).map(|bytes| Reply::Text(Some(bytes))),
                Ok(length) => Err(format!("a reply of {length} bytes")),
            },
            "*" => (0..number()?).map(|_| self.read()).collect::<Result<_, _>>().map(Reply::Array),
            other => Err(format!("a reply of kind {other}")),
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let read = self.reader.by_ref().take(64 * 1024).read_line(&mut line);
        read.map_err(|error| format!("cannot read a reply: {error}"))?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| "the server closed the connection".to_owned())
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes).map_err(|error| format!("cannot read a reply: {error}"))?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A client of a server that says this, whatever it is asked.
    fn client_of(reply: &'static [u8]) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || listener.accept().unwrap().0.write_all(reply).unwrap());
        Client::connect(address).unwrap()
    }

    #[test]
    fn replies_are_read() {
        let mut client = client_of(b"*3\r\n+OK\r\n$-1\r\n*2\r\n:-7\r\n$4\r\na\r\nb\r\n-ERR no\r\n");
        let nested = Reply::Array(vec![Reply::Integer(-7), Reply::Text(Some(b"a\r\nb".to_vec()))]);
        let whole = Reply::Array(vec![Reply::Text(Some(b"OK".to_vec())), Reply::Text(None), nested]);
        assert_eq!(client.read().unwrap(), whole);
        assert_eq!(client.read().unwrap_err(), "the server answered: ERR no");
        assert_eq!(client.read().unwrap_err(), "the server closed the connection");
    }
}
