//! Requests and answers: `/bucket` is listed; `/bucket/object` is read, written and deleted; bodies are XML.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, RANGE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::net::TcpListener;

use super::account::Account;
use super::bucket::{Bucket, Generation, Listing, Object, Page, Refusal};

/// The largest body; a part of an upload of this project's is smaller.
const BODY_BYTES_MAX: usize = 64 << 20;
const GENERATION: &str = "x-goog-generation";
const IF_GENERATION_MATCH: &str = "x-goog-if-generation-match";
/// Headers that change what a request means and that nothing here asks for.
const UNKNOWN_HEADERS: [&str; 4] = ["if-match", "if-none-match", "if-modified-since", "x-goog-copy-source"];

/// A server of one bucket.
#[derive(Debug)]
pub struct Server {
    bucket_name: String,
    bucket: Mutex<Bucket>,
    account: Account,
    /// Tokens whose signature was found right. They are looked at once, and are good until the server ends.
    known_tokens: Mutex<HashSet<String>>,
    outage: Outage,
}

/// A part of the names whose writes are answered with 503, as by a store of which a part is down. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Outage(Arc<Mutex<Option<String>>>);

impl Outage {
    /// From now on names with `part` in them are refused; with `None` no more are.
    pub fn of(&self, part: Option<&str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = part.map(str::to_owned);
    }

    fn holds(&self, name: &str) -> bool {
        let part = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        part.as_ref().is_some_and(|part| name.contains(part.as_str()))
    }
}

/// An answer of the documented form: a status, a code that programs read, and nothing for people.
struct Failure(StatusCode, &'static str);

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::EntityTooSmall => Self(StatusCode::BAD_REQUEST, "EntityTooSmall"),
            Refusal::InvalidPart => Self(StatusCode::BAD_REQUEST, "InvalidPart"),
            Refusal::InvalidPartOrder => Self(StatusCode::BAD_REQUEST, "InvalidPartOrder"),
            Refusal::NoSuchKey => Self(StatusCode::NOT_FOUND, "NoSuchKey"),
            Refusal::NoSuchUpload => Self(StatusCode::NOT_FOUND, "NoSuchUpload"),
            Refusal::PreconditionFailed => Self(StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
            Refusal::InvalidRange => Self(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
            Refusal::SlowDown => Self(StatusCode::TOO_MANY_REQUESTS, "SlowDown"),
        }
    }
}

const NOT_IMPLEMENTED: Failure = Failure(StatusCode::NOT_IMPLEMENTED, "NotImplemented");
const INVALID_ARGUMENT: Failure = Failure(StatusCode::BAD_REQUEST, "InvalidArgument");

impl Server {
    /// A server of an empty bucket of that name.
    #[must_use]
    pub fn new(bucket_name: &str, account: Account) -> Self {
        let bucket_name = bucket_name.to_owned();
        let outage = Outage::default();
        Self { bucket_name, bucket: Mutex::default(), account, known_tokens: Mutex::default(), outage }
    }

    /// What makes a part of it fail.
    #[must_use]
    pub fn outage(&self) -> Outage {
        self.outage.clone()
    }

    /// Serves for ever; tells the address when it listens.
    ///
    /// # Errors
    /// It cannot listen on loopback.
    pub async fn serve(self, listens: impl FnOnce(SocketAddr)) -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Arc::new(self);
        listens(listener.local_addr()?);
        let router = Router::new().fallback(move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move { server.answer(request).await }
        });
        axum::serve(listener, router).await
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let is_head = parts.method == Method::HEAD;
        let answer = match axum::body::to_bytes(body, BODY_BYTES_MAX).await {
            Ok(body) => self.answer_to(&parts, body),
            Err(_) => Err(Failure(StatusCode::BAD_REQUEST, "EntityTooLarge")),
        };
        answer.unwrap_or_else(|Failure(status, code)| {
            let text = format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>");
            respond(status, &[], if is_head { Bytes::new() } else { text.into() })
        })
    }

    fn answer_to(&self, parts: &Parts, body: Bytes) -> Result<Response<Body>, Failure> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.authorise(&parts.headers, now)?;
        if UNKNOWN_HEADERS.iter().any(|name| parts.headers.contains_key(*name)) {
            return Err(NOT_IMPLEMENTED);
        }
        let path = decoded(parts.uri.path().trim_start_matches('/'))?;
        let (bucket_name, object_name) = path.split_once('/').unwrap_or((&path, ""));
        if bucket_name != self.bucket_name {
            return Err(Failure(StatusCode::NOT_FOUND, "NoSuchBucket"));
        }
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let query: BTreeMap<String, String> = url::form_urlencoded::parse(query).into_owned().collect();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if object_name.is_empty() {
            return if parts.method == Method::GET { self.list(&bucket, &query) } else { Err(NOT_IMPLEMENTED) };
        }
        if matches!(parts.method, Method::PUT | Method::POST) && self.outage.holds(object_name) {
            return Err(Failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"));
        }
        let request = ObjectRequest { name: object_name, query, headers: &parts.headers, body, now };
        match parts.method {
            Method::GET => request.get(&bucket, Content::Sent),
            Method::HEAD => request.get(&bucket, Content::LeftOut),
            Method::PUT => request.put(&mut bucket),
            Method::POST => request.post(&mut bucket),
            Method::DELETE => request.delete(&mut bucket),
            _ => Err(NOT_IMPLEMENTED),
        }
    }

    fn authorise(&self, headers: &HeaderMap, now: Duration) -> Result<(), Failure> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let token = token.ok_or(Failure(StatusCode::UNAUTHORIZED, "AuthenticationRequired"))?;
        let mut known = self.known_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(token) {
            self.account.check(token, now).map_err(|reason| {
                eprintln!("gcs-loopback: a token was refused: {reason}");
                Failure(StatusCode::UNAUTHORIZED, "AuthenticationRequired")
            })?;
            known.insert(token.to_owned());
        }
        Ok(())
    }

    fn list(&self, bucket: &Bucket, query: &BTreeMap<String, String>) -> Result<Response<Body>, Failure> {
        let known = ["continuation-token", "delimiter", "list-type", "max-keys", "prefix", "start-after"];
        if query.keys().any(|name| !known.contains(&name.as_str())) || query.get("list-type").is_none_or(|v| v != "2") {
            return Err(NOT_IMPLEMENTED);
        }
        let listing = Listing {
            prefix: query.get("prefix").cloned().unwrap_or_default(),
            delimiter: query.get("delimiter").cloned(),
            start_after: query.get("start-after").cloned(),
            after_entry: query.get("continuation-token").map(|token| from_token(token)).transpose()?,
            entries_max: query.get("max-keys").map(|text| text.parse()).transpose().map_err(|_| INVALID_ARGUMENT)?,
        };
        let page = bucket.list(&listing);
        Ok(respond(
            StatusCode::OK,
            &[(CONTENT_TYPE.as_str(), "application/xml".to_owned())],
            self.page(&listing, page).into(),
        ))
    }

    fn page(&self, listing: &Listing, page: Page) -> String {
        let mut text = String::from(
            "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>",
        );
        element(&mut text, "Name", &self.bucket_name);
        element(&mut text, "Prefix", &listing.prefix);
        element(&mut text, "IsTruncated", if page.next_after.is_some() { "true" } else { "false" });
        if let Some(after) = &page.next_after {
            element(&mut text, "NextContinuationToken", &to_token(after));
        }
        for (name, object) in &page.objects {
            text.push_str("<Contents>");
            element(&mut text, "Key", name);
            element(&mut text, "Generation", &object.generation.to_string());
            element(&mut text, "MetaGeneration", "1");
            element(&mut text, "LastModified", &timestamp(object).strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string());
            element(&mut text, "ETag", &object.etag);
            element(&mut text, "Size", &object.data.len().to_string());
            text.push_str("</Contents>");
        }
        for prefix in &page.prefixes {
            text.push_str("<CommonPrefixes>");
            element(&mut text, "Prefix", prefix);
            text.push_str("</CommonPrefixes>");
        }
        text.push_str("</ListBucketResult>");
        text
    }
}

/// Whether an answer carries the object's content, or its headers only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Sent,
    LeftOut,
}

struct ObjectRequest<'a> {
    name: &'a str,
    query: BTreeMap<String, String>,
    headers: &'a HeaderMap,
    body: Bytes,
    now: Duration,
}

impl ObjectRequest<'_> {
    fn get(&self, bucket: &Bucket, content: Content) -> Result<Response<Body>, Failure> {
        self.only(&["generation"])?;
        let wanted = self.query.get("generation").map(|text| number(text)).transpose()?;
        bucket.check(self.name, self.only_if()?)?;
        let object = bucket.get(self.name, wanted)?;
        let size = object.data.len();
        let mut headers = vec![
            (CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
            (ETAG.as_str(), object.etag.clone()),
            (GENERATION, object.generation.to_string()),
            ("x-goog-metageneration", "1".to_owned()),
            (LAST_MODIFIED.as_str(), last_modified(object)),
        ];
        let range = match self.headers.get(RANGE) {
            Some(range) => {
                let (first, end) = range_of(range.to_str().map_err(|_| INVALID_ARGUMENT)?, size)?;
                headers.push((CONTENT_RANGE.as_str(), format!("bytes {first}-{}/{size}", end - 1)));
                first..end
            }
            None => 0..size,
        };
        let status = if self.headers.contains_key(RANGE) { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        headers.push((CONTENT_LENGTH.as_str(), range.len().to_string()));
        let body = if content == Content::Sent { object.data.slice(range) } else { Bytes::new() };
        Ok(respond(status, &headers, body))
    }

    fn put(&self, bucket: &mut Bucket) -> Result<Response<Body>, Failure> {
        self.only(&["partNumber", "uploadId"])?;
        let Some(id) = self.query.get("uploadId") else {
            let object = bucket.put(self.name, self.body.clone(), self.only_if()?, self.now)?;
            return Ok(written(object));
        };
        let part = number(self.query.get("partNumber").ok_or(INVALID_ARGUMENT)?)?;
        let part = u32::try_from(part).ok().filter(|part| (1..=10_000).contains(part)).ok_or(INVALID_ARGUMENT)?;
        let etag = bucket.put_part(self.name, id, part, self.body.clone())?;
        Ok(respond(StatusCode::OK, &[(ETAG.as_str(), etag)], Bytes::new()))
    }

    fn post(&self, bucket: &mut Bucket) -> Result<Response<Body>, Failure> {
        self.only(&["uploads", "uploadId"])?;
        let mut text = String::from("<?xml version='1.0' encoding='UTF-8'?>");
        let Some(id) = self.query.get("uploadId") else {
            if !self.query.contains_key("uploads") {
                return Err(NOT_IMPLEMENTED);
            }
            text.push_str("<InitiateMultipartUploadResult>");
            element(&mut text, "Key", self.name);
            element(&mut text, "UploadId", &bucket.begin(self.name));
            text.push_str("</InitiateMultipartUploadResult>");
            return Ok(respond(StatusCode::OK, &[], text.into()));
        };
        let body = std::str::from_utf8(&self.body).map_err(|_| INVALID_ARGUMENT)?;
        let parts: Result<Vec<_>, Failure> = body
            .split("<Part>")
            .skip(1)
            .map(|part| {
                let number = number(inside(part, "PartNumber")?)?;
                let etag = inside(part, "ETag")?.replace("&quot;", "\"");
                Ok((u32::try_from(number).map_err(|_| INVALID_ARGUMENT)?, etag))
            })
            .collect();
        let object = bucket.complete(self.name, id, &parts?, self.now)?;
        text.push_str("<CompleteMultipartUploadResult>");
        element(&mut text, "Key", self.name);
        element(&mut text, "ETag", &object.etag);
        text.push_str("</CompleteMultipartUploadResult>");
        Ok(respond(StatusCode::OK, &[(GENERATION, object.generation.to_string())], text.into()))
    }

    fn delete(&self, bucket: &mut Bucket) -> Result<Response<Body>, Failure> {
        self.only(&["uploadId"])?;
        match self.query.get("uploadId") {
            Some(id) => bucket.abort(self.name, id)?,
            None => bucket.delete(self.name, self.only_if()?)?,
        }
        Ok(respond(StatusCode::NO_CONTENT, &[], Bytes::new()))
    }

    /// Refuses every parameter but these.
    fn only(&self, known: &[&str]) -> Result<(), Failure> {
        if self.query.keys().all(|name| known.contains(&name.as_str())) { Ok(()) } else { Err(NOT_IMPLEMENTED) }
    }

    fn only_if(&self) -> Result<Option<Generation>, Failure> {
        let header = self.headers.get(IF_GENERATION_MATCH);
        header.map(|value| number(value.to_str().unwrap_or_default())).transpose()
    }
}

fn written(object: &Object) -> Response<Body> {
    let headers = [(ETAG.as_str(), object.etag.clone()), (GENERATION, object.generation.to_string())];
    respond(StatusCode::OK, &headers, Bytes::new())
}

fn respond(status: StatusCode, headers: &[(&str, String)], body: Bytes) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(Body::from(body)).expect("headers of this module are valid")
}

fn number(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| INVALID_ARGUMENT)
}

/// `bytes=first-last`, `bytes=first-` or `bytes=-length` of an object, as its first byte and the one behind its last.
fn range_of(text: &str, size: usize) -> Result<(usize, usize), Failure> {
    let (first, last) = text.strip_prefix("bytes=").and_then(|text| text.split_once('-')).ok_or(INVALID_ARGUMENT)?;
    let place = |text: &str| text.parse::<usize>().map_err(|_| INVALID_ARGUMENT);
    let (first, end) = match (first, last) {
        ("", length) => (size.saturating_sub(place(length)?), size),
        (first, "") => (place(first)?, size),
        (first, last) => (place(first)?, place(last)?.saturating_add(1).min(size)),
    };
    if first < end { Ok((first, end)) } else { Err(Refusal::InvalidRange.into()) }
}

/// A page token says nothing to anyone else.
fn to_token(entry: &str) -> String {
    entry.bytes().rev().fold(String::new(), |mut token, byte| {
        write!(token, "{byte:02x}").expect("a string takes everything");
        token
    })
}

fn from_token(token: &str) -> Result<String, Failure> {
    let digits: Vec<&str> = token.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok()).collect();
    let bytes: Result<Vec<u8>, _> = digits.iter().rev().map(|pair| u8::from_str_radix(pair, 16)).collect();
    String::from_utf8(bytes.map_err(|_| INVALID_ARGUMENT)?).map_err(|_| INVALID_ARGUMENT)
}

fn decoded(path: &str) -> Result<String, Failure> {
    percent_encoding::percent_decode_str(path).decode_utf8().map(|text| text.into_owned()).map_err(|_| INVALID_ARGUMENT)
}

fn element(text: &mut String, name: &str, value: &str) {
    let value = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    write!(text, "<{name}>{value}</{name}>").expect("a string takes everything");
}

/// The text of an element that holds only text.
fn inside<'a>(text: &'a str, name: &str) -> Result<&'a str, Failure> {
    let (_, rest) = text.split_once(&format!("<{name}>")).ok_or(INVALID_ARGUMENT)?;
    rest.split_once(&format!("</{name}>")).map(|(value, _)| value).ok_or(INVALID_ARGUMENT)
}

fn timestamp(object: &Object) -> Timestamp {
    let ms = i64::try_from(object.written.as_millis()).unwrap_or_default();
    Timestamp::from_millisecond(ms).unwrap_or_default()
}

fn last_modified(object: &Object) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp(object)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_the_end_and_refused_behind_it() {
        let range = |text| range_of(text, 10).map_err(|Failure(status, _)| status.as_u16());
        assert_eq!(range("bytes=2-4"), Ok((2, 5)));
        assert_eq!(range("bytes=4-99"), Ok((4, 10)));
        assert_eq!(range("bytes=4-"), Ok((4, 10)));
        assert_eq!(range("bytes=-3"), Ok((7, 10)));
        assert_eq!(range("bytes=-99"), Ok((0, 10)));
        assert_eq!(range("bytes=10-"), Err(416));
        assert_eq!(range("bytes=0-1,3-4"), Err(400));
        assert_eq!(range("lines=1-2"), Err(400));
        assert_eq!(range_of("bytes=-1", 0).map_err(|Failure(status, _)| status.as_u16()), Err(416));
    }

    #[test]
    fn page_tokens_come_back_as_what_they_stood_for() {
        for entry in ["", "a/b", "ü/<&>"] {
            assert_eq!(from_token(&to_token(entry)).ok().as_deref(), Some(entry));
        }
        assert!(from_token("no token").is_err());
    }
}
