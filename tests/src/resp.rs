//! A blocking client of the data port: RESP2 and RESP3, pipelines, raw bytes.
//!
//! Written from the protocol's description and not with the server's own codec, so that a mistake there is not made here
//! again. Replies are bounded: one that nests or counts beyond the limits below is an error.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::PATIENCE;

/// Longest bulk string this client takes.
const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Most elements of one aggregate this client takes.
const ELEMENTS_MAX: usize = 64 * 1024 * 1024;
/// Deepest nesting this client takes.
const DEPTH_MAX: usize = 32;

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `+OK`
    Simple(String),
    /// `-ERR …`, prefix included.
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$…`, `=…`
    Bulk(Vec<u8>),
    /// `*…`
    Array(Vec<Value>),
    /// `%…`
    Map(Vec<(Value, Value)>),
    /// `~…`
    Set(Vec<Value>),
    /// `,…`
    Double(f64),
    /// `#t`, `#f`
    Boolean(bool),
    /// `(…`
    Big(String),
    /// `$-1`, `*-1`, `_`
    Null,
    /// `>…`
    Push(Vec<Value>),
}

impl Value {
    /// `+OK`
    #[must_use]
    pub fn ok() -> Self {
        Self::Simple("OK".to_owned())
    }

    /// A bulk string.
    #[must_use]
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// Whether this is an error reply.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// The integer.
    ///
    /// # Panics
    /// Where the reply is something else.
    #[must_use]
    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(integer) => *integer,
            other => panic!("not an integer: {other:?}"),
        }
    }

    /// The text of a simple or bulk string.
    ///
    /// # Panics
    /// Where the reply is something else, or not UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8(bytes.clone()).expect("a reply that a test reads as text is text"),
            other => panic!("not a text: {other:?}"),
        }
    }

    /// The elements of an array.
    ///
    /// # Panics
    /// Where the reply is something else.
    #[must_use]
    pub fn items(&self) -> &[Value] {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there, or the connection failed.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, stream) })
    }

    /// Sends one command and reads its reply.
    ///
    /// # Errors
    /// The connection failed, or what came back is not a reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Result<Value> {
        self.send(&encode(command))?;
        self.read()
    }

    /// Sends one command; an error reply is an error.
    ///
    /// # Panics
    /// When the connection failed, or the server answered with an error.
    pub fn expect<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Value {
        let shown: Vec<_> = command.iter().map(|word| String::from_utf8_lossy(word.as_ref()).into_owned()).collect();
        match self.call(command) {
            Ok(Value::Error(message)) => panic!("{shown:?} was refused: {message}"),
            Ok(value) => value,
            Err(error) => panic!("{shown:?} got no reply: {error}"),
        }
    }

    /// Sends all commands at once and reads all replies.
    ///
    /// # Errors
    /// The connection failed: the replies that did arrive are lost to the caller; use [`Self::send`] and [`Self::read`] where
    /// they matter.
    pub fn pipeline(&mut self, commands: &[Vec<Vec<u8>>]) -> Result<Vec<Value>> {
        let bytes: Vec<u8> = commands.iter().flat_map(|command| encode(command)).collect();
        self.send(&bytes)?;
        commands.iter().map(|_| self.read()).collect()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection failed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// The connection failed or was closed, or what came is not a reply.
    pub fn read(&mut self) -> Result<Value> {
        self.value(0)
    }

    /// Whether the server closes the connection without saying more. Reads and drops what still comes before that.
    #[must_use]
    pub fn is_closed_by_server(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        self.reader.by_ref().take(64 * 1024).read_until(b'\n', &mut bytes)?;
        match bytes.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None if bytes.is_empty() => Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            None => Err(malformed("a line without its end")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > DEPTH_MAX {
            return Err(malformed("nested too deeply"));
        }
        let line = self.line()?;
        let mut characters = line.chars();
        let kind = characters.next().ok_or_else(|| malformed("an empty line"))?;
        let rest = characters.as_str();
        Ok(match kind {
            '+' => Value::Simple(rest.to_owned()),
            '-' => Value::Error(rest.to_owned()),
            ':' => Value::Integer(number(rest)?),
            ',' => Value::Double(rest.parse().map_err(|_| malformed("not a double"))?),
            '#' => Value::Boolean(rest == "t"),
            '(' => Value::Big(rest.to_owned()),
            '_' => Value::Null,
            '$' | '=' => match length(rest, BULK_BYTES_MAX)? {
                None => Value::Null,
                Some(bytes) => Value::Bulk(self.bytes(bytes)?),
            },
            '*' | '~' | '>' => match length(rest, ELEMENTS_MAX)? {
                None => Value::Null,
                Some(count) => {
                    let items = self.values(count, depth)?;
                    match kind {
                        '*' => Value::Array(items),
                        '~' => Value::Set(items),
                        _ => Value::Push(items),
                    }
                }
            },
            '%' => match length(rest, ELEMENTS_MAX)? {
                None => Value::Null,
                Some(count) => Value::Map(self.pairs(count, depth)?),
            },
            other => return Err(malformed(&format!("a reply of kind {other:?}"))),
        })
    }

    fn values(&mut self, count: usize, depth: usize) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(self.value(depth + 1)?);
        }
        Ok(items)
    }

    fn pairs(&mut self, count: usize, depth: usize) -> Result<Vec<(Value, Value)>> {
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(pairs)
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes)?;
        let mut end = [0; 2];
        self.reader.read_exact(&mut end)?;
        if end == *b"\r\n" { Ok(bytes) } else { Err(malformed("a bulk string without its end")) }
    }
}

/// A command as an array of bulk strings.
#[must_use]
pub fn encode<A: AsRef<[u8]>>(command: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The words of a command, owned: what [`Client::pipeline`] takes.
#[must_use]
pub fn words<A: AsRef<[u8]>>(command: &[A]) -> Vec<Vec<u8>> {
    command.iter().map(|word| word.as_ref().to_vec()).collect()
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| malformed("not a number"))
}

/// A declared length; `None` for the null that RESP2 writes as -1.
fn length(text: &str, max: usize) -> Result<Option<usize>> {
    match number(text)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).ok().filter(|length| *length <= max);
            length.map(Some).ok_or_else(|| malformed("a length beyond the limits"))
        }
    }
}
