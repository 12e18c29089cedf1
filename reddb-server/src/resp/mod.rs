//! The Redis serialization protocol: bytes to commands ([`Decoder`]), answers to bytes ([`encode()`]).
//!
//! Pure: no sockets, no clock. What a client may make the process hold is bounded in [`limits`] and enforced in the
//! decoder; nothing is allocated because a length was declared.

mod decode;
mod encode;
mod inline;
pub(crate) mod limits;

pub(crate) use decode::{Decoder, Trust};
pub(crate) use encode::{Protocol, encode};
