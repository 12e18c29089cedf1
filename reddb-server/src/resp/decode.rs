//! Bytes to commands, as they arrive.
//!
//! ```text
//! *<argument count>\r\n  then, for each argument:  $<length>\r\n<bytes>\r\n
//! <word> <word> …\n                                an inline command; words may be quoted
//! ```
//! Invariants:
//! * A command is given out once, whole, its arguments sharing the received bytes.
//! * What is held is what was received: declared lengths are checked against [`limits`](super::limits) and never
//!   allocated. No byte of a large command is looked at twice.
//! * After an error the stream is out of step: the connection has to be closed.

use bytes::{Buf as _, Bytes, BytesMut};

use super::inline::split_words;
use super::limits::{
    ARG_BYTES_BEFORE_AUTH_MAX, ARG_BYTES_MAX, ARGS_BEFORE_AUTH_MAX, ARGS_DECLARED_MAX, ARGS_MAX, COMMAND_BYTES_MAX,
    LINE_BYTES_MAX,
};
use crate::reply::CommandError;

/// How far a connection is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It has not authenticated, and has to.
    Stranger,
    /// It may send anything within the limits.
    Known,
}

/// Bytes that are no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The argument count is no number, or too large.
    #[error("invalid multibulk length")]
    InvalidArgCount,
    /// More arguments than are accepted before authentication.
    #[error("unauthenticated multibulk length")]
    StrangerArgCount,
    /// The line with the argument count does not end.
    #[error("too big mbulk count string")]
    ArgCountLine,
    /// The line with an argument's length does not end.
    #[error("too big bulk count string")]
    ArgLengthLine,
    /// Something else where an argument's length should be.
    #[error("expected '$', got '{}'", .0.escape_ascii())]
    ExpectedLength(u8),
    /// An argument's length is no number, or too large.
    #[error("invalid bulk length")]
    InvalidArgLength,
    /// An argument longer than is accepted before authentication.
    #[error("unauthenticated bulk length")]
    StrangerArgLength,
    /// An inline command that does not end.
    #[error("too big inline request")]
    InlineTooLong,
    /// A quote of an inline command is not closed, or something follows it directly.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// More arguments have arrived than are taken in.
    #[error("command of more than {ARGS_MAX} arguments")]
    TooManyArgs,
    /// All arguments together are too long.
    #[error("command of more than {COMMAND_BYTES_MAX} bytes")]
    CommandTooLong,
}

impl From<ProtocolError> for CommandError {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::ExpectedLength(got) => Self::quoting("ERR Protocol error: expected '$', got '", &[got], "'"),
            error => Self::new(format!("ERR Protocol error: {error}")),
        }
    }
}

/// Where an argument lies in the buffer.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Debug, Default)]
enum State {
    /// Before a command.
    #[default]
    Start,
    /// Inside one whose arguments are counted.
    Args {
        /// Arguments that are still to come.
        left: usize,
        /// The length of the next one, once it is known.
        length: Option<usize>,
        /// The first byte not yet looked at.
        at: usize,
    },
}

/// An ordinary command has no more arguments, each with a length of no more digits. A stranger may send one as well.
const ORDINARY_ARGS_MAX: usize = 8;
const SHORT_NUMBER_DIGITS: usize = 4;
const _: () = assert!(
    ORDINARY_ARGS_MAX <= ARGS_BEFORE_AUTH_MAX
        && 10_usize.pow(SHORT_NUMBER_DIGITS as u32) - 1 <= ARG_BYTES_BEFORE_AUTH_MAX
);

/// Spans that are kept for the next command rather than given back to the allocator.
const SPANS_KEPT: usize = 64;

/// Receives bytes, gives out commands.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: BytesMut,
    state: State,
    spans: Vec<Span>,
}

impl Decoder {
    /// A decoder that has received nothing.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes over received bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes received and not given out yet.
    #[must_use]
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next command, its name first and never without one; `None` until more bytes arrive.
    ///
    /// # Errors
    /// Where the bytes are no command: the connection has to be closed.
    pub(crate) fn next_command(&mut self, trust: Trust) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        loop {
            match self.state {
                State::Start => match self.buffer.first() {
                    None => return Ok(None),
                    Some(b'*') => {
                        if let Some(end) = self.whole_command() {
                            return Ok(Some(self.give_out(end)));
                        }
                        if !self.start_counted(trust)? {
                            return Ok(None);
                        }
                    }
                    Some(_) => match self.inline_command()? {
                        None => return Ok(None),
                        Some(words) if words.is_empty() => {}
                        Some(words) => return Ok(Some(words)),
                    },
                },
                State::Args { left: 0, at, .. } => return Ok(Some(self.give_out(at))),
                State::Args { left, length, at } => {
                    if !self.next_arg(left, length, at, trust)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Finds the arguments of a counted command and its end, where all of it is there and nothing about it is out of the ordinary:
    /// a few short arguments. Whatever else it is, the way by single steps finds out.
    fn whole_command(&mut self) -> Option<usize> {
        let buffer = &self.buffer[..];
        self.spans.clear();
        let (count, mut at) = short_number(buffer, 0, b'*')?;
        if !(1..=ORDINARY_ARGS_MAX).contains(&count) {
            return None;
        }
        for _ in 0..count {
            let (length, start) = short_number(buffer, at, b'$')?;
            let end = start + length;
            if buffer.get(end..end + 2)? != b"\r\n" {
                return None;
            }
            self.spans.push(Span { start, end });
            at = end + 2;
        }
        Some(at)
    }

    /// Reads `*<count>\r\n`; says whether it was all there.
    fn start_counted(&mut self, trust: Trust) -> Result<bool, ProtocolError> {
        let Some((line_end, after)) = self.line_end(0, ProtocolError::ArgCountLine)? else { return Ok(false) };
        let count = parse_decimal(&self.buffer[1..line_end]).ok_or(ProtocolError::InvalidArgCount)?;
        let Ok(count) = usize::try_from(count) else {
            let _ = self.buffer.split_to(after);
            return Ok(true);
        };
        if count > ARGS_DECLARED_MAX {
            return Err(ProtocolError::InvalidArgCount);
        }
        if count > ARGS_BEFORE_AUTH_MAX && trust == Trust::Stranger {
            return Err(ProtocolError::StrangerArgCount);
        }
        if count == 0 {
            let _ = self.buffer.split_to(after);
        } else {
            self.spans.clear();
            self.state = State::Args { left: count, length: None, at: after };
        }
        Ok(true)
    }

    /// Goes on with the next argument; says whether it got any further.
    fn next_arg(&mut self, left: usize, length: Option<usize>, at: usize, trust: Trust) -> Result<bool, ProtocolError> {
        let (length, at) = match length {
            Some(length) => (length, at),
            None => {
                let Some((line_end, after)) = self.line_end(at, ProtocolError::ArgLengthLine)? else {
                    return Ok(false);
                };
                if self.buffer[at] != b'$' {
                    return Err(ProtocolError::ExpectedLength(self.buffer[at]));
                }
                let length = parse_decimal(&self.buffer[at + 1..line_end])
                    .and_then(|length| usize::try_from(length).ok())
                    .filter(|length| *length <= ARG_BYTES_MAX)
                    .ok_or(ProtocolError::InvalidArgLength)?;
                if length > ARG_BYTES_BEFORE_AUTH_MAX && trust == Trust::Stranger {
                    return Err(ProtocolError::StrangerArgLength);
                }
                if after + length > COMMAND_BYTES_MAX {
                    return Err(ProtocolError::CommandTooLong);
                }
                (length, after)
            }
        };
        let end = at + length;
        if self.buffer.len() < end + 2 {
            self.state = State::Args { left, length: Some(length), at };
            return Ok(false);
        }
        if self.spans.len() >= ARGS_MAX {
            return Err(ProtocolError::TooManyArgs);
        }
        self.spans.push(Span { start: at, end });
        self.state = State::Args { left: left - 1, length: None, at: end + 2 };
        Ok(true)
    }

    /// The end of the line that starts at `from`, and what follows its two end bytes; `None` until it is there.
    fn line_end(&self, from: usize, too_long: ProtocolError) -> Result<Option<(usize, usize)>, ProtocolError> {
        let rest = self.buffer.get(from..).unwrap_or_default();
        match memchr::memchr(b'\r', rest) {
            Some(length) if rest.len() >= length + 2 => Ok(Some((from + length, from + length + 2))),
            Some(_) => Ok(None),
            None if rest.len() > LINE_BYTES_MAX => Err(too_long),
            None => Ok(None),
        }
    }

    /// The counted command that ends at `end`.
    fn give_out(&mut self, end: usize) -> Vec<Bytes> {
        self.state = State::Start;
        let mut command = self.take(end);
        let mut args = Vec::with_capacity(self.spans.len());
        if let Some((last, others)) = self.spans.split_last() {
            args.extend(others.iter().map(|span| command.slice(span.start..span.end)));
            // The last one takes the command's own share of the bytes.
            command.truncate(last.end);
            command.advance(last.start);
            args.push(command);
        }
        self.spans.clear();
        self.spans.shrink_to(SPANS_KEPT);
        args
    }

    /// The words of an inline command, none for an empty line; `None` until its line has ended.
    fn inline_command(&mut self) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        match memchr::memchr(b'\n', &self.buffer) {
            Some(length) => {
                let line = self.take(length + 1);
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                split_words(line).ok_or(ProtocolError::UnbalancedQuotes).map(Some)
            }
            None if self.buffer.len() > LINE_BYTES_MAX => Err(ProtocolError::InlineTooLong),
            None => Ok(None),
        }
    }

    /// The first `length` bytes. When nothing is left after them, the memory goes with them: an idle connection holds none.
    fn take(&mut self, length: usize) -> Bytes {
        if length == self.buffer.len() {
            std::mem::take(&mut self.buffer).freeze()
        } else {
            self.buffer.split_to(length).freeze()
        }
    }
}

/// The line `<sign><number>\r\n` at `at`, where it is all there and the number has at most four digits, none of them a needless zero:
/// the number, and what follows the line.
fn short_number(buffer: &[u8], at: usize, sign: u8) -> Option<(usize, usize)> {
    let line = buffer.get(at..)?;
    let (first, rest) = line.split_first()?;
    let digits = rest.iter().take(SHORT_NUMBER_DIGITS + 1).position(|byte| *byte == b'\r')?;
    if *first != sign || digits == 0 || rest.get(digits + 1) != Some(&b'\n') || (digits > 1 && rest[0] == b'0') {
        return None;
    }
    let mut number = 0;
    for digit in &rest[..digits] {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + usize::from(digit);
    }
    Some((number, at + digits + 3))
}

/// A decimal number in the only form that is accepted: no sign but a minus, no leading zeros, no spaces.
fn parse_decimal(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [] | [b'0', ..] => return None,
        _ => {}
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?);
        value = value.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
