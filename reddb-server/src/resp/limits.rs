//! What a client may send.

use reddb_file::limits::RECORD_PAYLOAD_BYTES_MAX;

/// The largest count of arguments that a command may declare, as in Redis.
pub(crate) const ARGS_DECLARED_MAX: usize = i32::MAX as usize;

/// The most arguments of one command that are taken in, its name included: each takes several times the memory of its
/// shortest spelling.
pub(crate) const ARGS_MAX: usize = 4 * 1024 * 1024;

/// The longest argument, in bytes: no value may be longer.
pub(crate) const ARG_BYTES_MAX: usize = reddb_wire::VALUE_BYTES_MAX;

/// The longest command, in bytes as sent: what is larger could never be logged as one record.
pub(crate) const COMMAND_BYTES_MAX: usize = RECORD_PAYLOAD_BYTES_MAX as usize + 1024 * 1024;

/// How many bytes may arrive before the end of an inline command, or of a line that declares a length.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;

/// The most arguments of one command before authentication.
pub(crate) const ARGS_BEFORE_AUTH_MAX: usize = 10;

/// The longest argument before authentication, in bytes.
pub(crate) const ARG_BYTES_BEFORE_AUTH_MAX: usize = 16 * 1024;

/// The most keys that one connection may watch: they are kept until the watch ends.
pub(crate) const WATCHED_KEYS_MAX: usize = 4096;

/// The most bytes that their names may have together.
pub(crate) const WATCHED_BYTES_MAX: usize = 1024 * 1024;
