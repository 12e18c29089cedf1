//! The paths of the admin port and what answers there.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;

use super::document::{
    BackupDocument, BackupRequest, HealthDocument, MarkDocument, MarkRequest, StatusDocument, Surroundings,
};
use super::error::ApiError;
use super::{Admin, metrics, openapi};
use crate::commit::gate::Condition;
use crate::database::{ARCHIVE_DOWN, NAME_TAKEN};
use crate::reply::CommandError;

/// No request has a body larger than this.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// A path, its method, and what answers; [`openapi`] describes the same list.
pub(super) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(scrape))
        .route("/admin/status", get(status))
        .route("/admin/backup", post(backup))
        .route("/admin/mark", post(mark))
        .route("/admin/confirm-clock", post(confirm_clock))
        .route("/admin/openapi.json", get(describe))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(admin.clone(), guarded))
        .with_state(admin)
}

async fn guarded(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    match admin.guard.judge(request.method(), request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// The process answers: that is all it says.
async fn live() -> Json<HealthDocument> {
    Json(HealthDocument { status: "ok".into(), reason: None })
}

/// Whether writes are taken.
async fn ready(State(admin): State<Admin>) -> (StatusCode, Json<HealthDocument>) {
    match admin.database.refusal() {
        None => (StatusCode::OK, Json(HealthDocument { status: "ok".into(), reason: None })),
        Some((code, reason)) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(HealthDocument { status: code.into(), reason: Some(reason) }))
        }
    }
}

async fn scrape(State(admin): State<Admin>) -> Result<Response, ApiError> {
    let text = metrics::render(&look(admin).await?);
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn status(State(admin): State<Admin>) -> Result<Json<StatusDocument>, ApiError> {
    look(admin).await.map(Json)
}

async fn describe() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::DOCUMENT).into_response()
}

/// A body as it arrived, or why it did not.
type Body = Result<Bytes, BytesRejection>;

async fn backup(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Result<Json<BackupDocument>, ApiError> {
    let body = body.map_err(unread)?;
    let request = if body.is_empty() { BackupRequest::default() } else { parse::<BackupRequest>(&headers, &body)? };
    let reason = request.reason.unwrap_or_else(|| "POST /admin/backup".into());
    // A caller that goes away does not stop a snapshot half way.
    let database = admin.database;
    let made = tokio::spawn(async move { database.backup(&reason).await }).await;
    let summary = made.map_err(|_| internal())?.map_err(refused)?;
    Ok(Json(BackupDocument::from(summary)))
}

async fn mark(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Result<Json<MarkDocument>, ApiError> {
    let request: MarkRequest = parse(&headers, &body.map_err(unread)?)?;
    if let Err(error) = request.name.parse::<reddb_file::archive::PointName>() {
        return Err(ApiError::bad_request(error, "names are made of letters, digits, `-`, `_` and `.`"));
    }
    let database = admin.database;
    let made = tokio::spawn(async move { database.mark(&request.name).await }).await;
    let summary = made.map_err(|_| internal())?.map_err(refused)?;
    Ok(Json(MarkDocument::from(summary)))
}

async fn confirm_clock(State(admin): State<Admin>) -> (StatusCode, Json<HealthDocument>) {
    admin.database.confirm_clock().await;
    tracing::warn!("an operator confirmed the clock");
    let jumped = admin.database.refusal().filter(|(code, _)| *code == Condition::ClockJump.code());
    match jumped {
        None => (StatusCode::OK, Json(HealthDocument { status: "ok".into(), reason: None })),
        Some((code, reason)) => {
            (StatusCode::CONFLICT, Json(HealthDocument { status: code.into(), reason: Some(reason) }))
        }
    }
}

async fn no_such_path(request: Request) -> ApiError {
    let message = format!("there is nothing at {}", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message, "GET /admin/openapi.json lists what there is")
}

async fn no_such_method(method: Method, request: Request) -> ApiError {
    let message = format!("{} does not take {method}", request.uri().path());
    let hint = "GET /admin/openapi.json lists what there is";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, hint)
}

/// The status; reading it may touch the disk.
async fn look(admin: Admin) -> Result<StatusDocument, ApiError> {
    let look = move || {
        let config = admin.database.config();
        let around = Surroundings {
            wall_time_ms: admin.database.wall_ms(),
            uptime_ms: u64::try_from(admin.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            wal_bytes_max: config.wal_local_bytes_max,
            disk_free_bytes: admin.database.disk_free_bytes().ok(),
            disk_reserve_bytes: admin.database.disk_wanted_bytes(),
            clients: (admin.count_clients)(),
        };
        StatusDocument::new(admin.database.status(), around)
    };
    tokio::task::spawn_blocking(look).await.map_err(|_| internal())
}

/// A JSON body, which must say that it is one: a form on another site's page cannot.
fn parse<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "the body is not declared to be JSON",
            "send `Content-Type: application/json`",
        ));
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(error, "GET /admin/openapi.json describes the body"))
}

fn unread(rejection: BytesRejection) -> ApiError {
    let (code, hint) = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "no request here has a body of more than 16 KiB"),
        _ => ("bad_request", "the body did not arrive whole; send it again"),
    };
    ApiError::new(rejection.status(), code, rejection.body_text(), hint)
}

fn internal() -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the request stopped on an internal error",
        "look into the server's log",
    )
}

/// What the database refuses.
fn refused(error: CommandError) -> ApiError {
    let text = error.text();
    let (prefix, message) = text.split_once(' ').unwrap_or(("ERR", &text));
    match prefix {
        "INPROG" => ApiError::new(StatusCode::CONFLICT, "backup_running", message, "wait for it to end"),
        NAME_TAKEN => {
            ApiError::new(StatusCode::CONFLICT, "name_taken", message, "a name is never given to another record")
        }
        "CORRUPT" => ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "corrupt",
            message,
            "`reddb verify --archive URL` says whether the archive is sound",
        ),
        ARCHIVE_DOWN => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "archive_unavailable",
            message,
            "GET /admin/status says what is wrong under `refusal` and `archive`",
        ),
        _ => ApiError::new(
            StatusCode::CONFLICT,
            "failed",
            message,
            "GET /admin/status says what is wrong under `refusal` and `archive`",
        ),
    }
}
