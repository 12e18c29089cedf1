//! `GET /admin/openapi.json`: the description of this port for other programs. A test holds it against what is served.

/// The document, as it is served.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");
