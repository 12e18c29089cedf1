//! A server of Google Cloud Storage's XML API on loopback, for the archive's tests: no registry that this project
//! builds from has another.
//!
//! It is this project's own, written after Google's public documentation, and not Google's: what it shows is that RedDB and
//! its client ask as the documentation says, and understand what it says is answered. [`bucket`] is what is stored and the
//! rules, [`http`] the requests and answers, [`account`] who may ask.
//!
//! Invariants: what the documentation leaves open is answered in the way that is harder on the client (short pages, opaque
//! tokens, one write of a name in a second); what is asked for and not implemented is refused with 501, never ignored.

pub mod account;
pub mod bucket;
pub mod http;
