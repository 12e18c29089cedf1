//! What a command answers, before it is encoded for a client's protocol version.
//!
//! A [`Reply`] is RESP3's vocabulary; `resp::encode` writes it as RESP2 or RESP3. An error is an answer like any other:
//! it never costs the connection.

use std::borrow::Cow;

use bytes::Bytes;

use crate::command::budget::ELEMENT_BYTES;

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+OK`.
    Ok,
    /// A status line.
    Simple(Cow<'static, str>),
    /// An error line, with its prefix.
    Error(CommandError),
    /// An integer.
    Int(i64),
    /// A string of bytes.
    Bulk(Bytes),
    /// No value; RESP2's null bulk string.
    Null,
    /// No list; RESP2's null array, RESP3's null.
    NullArray,
    /// A list.
    Array(Vec<Reply>),
    /// Pairs; RESP2's flat array.
    Map(Vec<(Reply, Reply)>),
    /// Pairs in which a name may come twice (`HRANDFIELD … WITHVALUES`); RESP2's flat array, RESP3's array of two-element
    /// arrays.
    Pairs(Vec<(Reply, Reply)>),
    /// A set; RESP2's array.
    Set(Vec<Reply>),
    /// A floating point number; RESP2's bulk string.
    Double(f64),
    /// A truth value; RESP2's 0 or 1.
    Bool(bool),
    /// Text for people; RESP2's bulk string.
    Text(Bytes),
    /// No answer at all (`CLIENT REPLY OFF`).
    None,
}

impl Reply {
    /// A bulk string of these bytes.
    #[must_use]
    pub fn bulk(bytes: impl Into<Bytes>) -> Self {
        Self::Bulk(bytes.into())
    }

    /// A bulk string of this text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Bulk(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// A bulk string, or null.
    #[must_use]
    pub(crate) fn optional(bytes: Option<Bytes>) -> Self {
        bytes.map_or(Self::Null, Self::Bulk)
    }

    /// The bytes that the answer holds, as [`AnswerBudget`](crate::command::budget::AnswerBudget) counts them.
    #[must_use]
    pub(crate) fn held_bytes(&self) -> usize {
        let all = |replies: &[Self]| replies.iter().map(|reply| reply.held_bytes() + ELEMENT_BYTES).sum();
        let pairs = |pairs: &[(Self, Self)]| {
            pairs.iter().map(|(name, value)| name.held_bytes() + value.held_bytes() + 2 * ELEMENT_BYTES).sum()
        };
        match self {
            Self::Bulk(bytes) | Self::Text(bytes) => bytes.len(),
            Self::Array(replies) | Self::Set(replies) => all(replies),
            Self::Map(entries) | Self::Pairs(entries) => pairs(entries),
            Self::Simple(text) => text.len(),
            Self::Error(error) => error.line().len(),
            Self::Ok | Self::Int(_) | Self::Null | Self::NullArray | Self::Double(_) | Self::Bool(_) | Self::None => 0,
        }
    }

    /// An integer that counts something; saturates at `i64::MAX`.
    #[must_use]
    pub(crate) fn count(count: u64) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

/// An error answer: one line, its first word the prefix that clients switch on.
///
/// It is bytes, since it may quote what a client sent; [`Self::text`] and `Display` show them to people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct CommandError(Cow<'static, [u8]>);

impl CommandError {
    /// An error with a fixed text, prefix included.
    #[must_use]
    pub(crate) const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with this text, prefix included; line breaks become spaces, since an error is one line.
    #[must_use]
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::of_bytes(text.into().into_bytes())
    }

    /// An error with these bytes, prefix included; line breaks become spaces, since an error is one line.
    #[must_use]
    pub(crate) fn of_bytes(mut line: Vec<u8>) -> Self {
        line.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
        Self(line.into())
    }

    /// An error that quotes what a client sent, as far as C would print it: up to the first zero byte.
    #[must_use]
    pub(crate) fn quoting(before: &str, quoted: &[u8], after: &str) -> Self {
        Self::of_bytes([before.as_bytes(), until_zero(quoted), after.as_bytes()].concat())
    }

    /// The line as it is sent, without the leading `-`.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.0
    }

    /// The line as text: quoted bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The key holds another type.
    pub(crate) const WRONG_TYPE: Self =
        Self::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// The arguments are not in the command's form.
    pub(crate) const SYNTAX: Self = Self::fixed("ERR syntax error");
    /// An argument or value is no 64-bit integer.
    pub(crate) const NOT_AN_INTEGER: Self = Self::fixed("ERR value is not an integer or out of range");
    /// An argument or value is no number.
    pub(crate) const NOT_A_FLOAT: Self = Self::fixed("ERR value is not a valid float");
    /// No such key where one is needed.
    pub(crate) const NO_SUCH_KEY: Self = Self::fixed("ERR no such key");
    /// A database number that is none.
    pub(crate) const DB_OUT_OF_RANGE: Self = Self::fixed("ERR DB index is out of range");

    /// The command was called with a wrong number of arguments.
    #[must_use]
    pub(crate) fn wrong_arity(command: &str) -> Self {
        Self::new(format!("ERR wrong number of arguments for '{}' command", command.to_ascii_lowercase()))
    }
}

/// The bytes before the first zero.
#[must_use]
pub(crate) fn until_zero(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// What a command's execution gives.
pub(crate) type CommandResult = Result<Reply, CommandError>;
