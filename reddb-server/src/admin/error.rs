//! Errors of the admin port: a status, and a JSON object with a code for programs, a message and a hint for people.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorDocument {
    /// For programs: `snake_case`, does not change.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) document: ErrorDocument,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl ToString, hint: &str) -> Self {
        let document = ErrorDocument { code: code.into(), message: message.to_string(), hint: hint.into() };
        Self { status, document }
    }

    pub(super) fn bad_request(message: impl ToString, hint: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message, hint)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.document)).into_response()
    }
}
