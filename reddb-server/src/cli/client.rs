//! Talking to a running server's admin port.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::AdminArgs;
use super::exit::{CliError, Exit};
use super::settings::read_password;
use crate::admin::ErrorDocument;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For what a server answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// An answer larger than this is not the admin port's.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A server's admin port.
#[derive(Debug)]
pub(crate) struct AdminClient {
    client: Client,
    base: Url,
    password: Option<String>,
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as a look takes.
    Short,
    /// As long as a backup takes.
    Unlimited,
}

impl AdminClient {
    /// A client for the port that the arguments name. Asks nothing yet.
    ///
    /// # Errors
    /// Where the URL or the password file cannot be used.
    pub(crate) fn new(args: &AdminArgs, password: Option<String>) -> Result<Self, CliError> {
        let base = parse_url(&args.admin)?;
        let password = match (password, &args.password_file) {
            (Some(password), _) => Some(password),
            (None, Some(path)) => Some(read_password(path)?),
            (None, None) => None,
        };
        // The environment's proxies are for the world outside; this is a server of ours, mostly on this machine.
        let client = Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).build();
        let client = client.map_err(|error| CliError::critical(format!("no HTTP client: {error}")))?;
        Ok(Self { client, base, password })
    }

    /// `GET` a document.
    ///
    /// # Errors
    /// Exit code 4 where the server cannot be reached, 2 where it refuses.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.send(self.client.get(self.url(path)?), Patience::Short).await
    }

    /// `POST` a document and get one back.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        patience: Patience,
    ) -> Result<T, CliError> {
        self.send(self.client.post(self.url(path)?).json(body), patience).await
    }

    fn url(&self, path: &str) -> Result<Url, CliError> {
        self.base.join(path).map_err(|error| CliError::usage(format!("--admin {}: {error}", self.base)))
    }

    async fn send<T: DeserializeOwned>(&self, mut request: RequestBuilder, patience: Patience) -> Result<T, CliError> {
        if let Some(password) = &self.password {
            request = request.bearer_auth(password);
        }
        if patience == Patience::Short {
            request = request.timeout(ANSWER_TIMEOUT);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = self.read(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.foreign(&error));
        }
        match serde_json::from_slice::<ErrorDocument>(&body) {
            Ok(document) => Err(refusal(status, &document)),
            Err(error) => Err(self.foreign(&format!("HTTP status {status}, {error}"))),
        }
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Vec<u8>, CliError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.foreign(&"an endless answer"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        CliError::new(Exit::Unreachable, format!("no answer from the server at {}: {cause}", self.base)).hint(
            "is `reddb serve` running? Its start-up text and <dir>/addresses.json say where its admin port is; \
             give it with --admin",
        )
    }

    fn foreign(&self, error: &dyn std::fmt::Display) -> CliError {
        CliError::new(Exit::Unreachable, format!("what answers at {} is not a reddb admin port: {error}", self.base))
            .hint("the admin port is 6380 by default, the data port 6379; give the admin port with --admin")
    }
}

fn refusal(status: StatusCode, document: &ErrorDocument) -> CliError {
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => Exit::Usage,
        _ if document.code == "name_taken" => Exit::Usage,
        _ if document.code == "backup_running" => Exit::Held,
        _ if document.code == "corrupt" => Exit::Integrity,
        _ if document.code == "archive_unavailable" => Exit::Unreachable,
        _ => Exit::Critical,
    };
    CliError::new(exit, &document.message).hint(&document.hint)
}

/// `http://host:port`, or just `host:port`.
fn parse_url(text: &str) -> Result<Url, CliError> {
    let bad = |detail: &dyn std::fmt::Display| {
        CliError::usage(format!("--admin {text}: {detail}")).hint("write for example http://127.0.0.1:6380")
    };
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&full).map_err(|error| bad(&error))?;
    if url.scheme() != "http" {
        return Err(bad(&"the admin port speaks http://"));
    }
    if url.host().is_none() || !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err(bad(&"only the host and the port belong here"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(&"a password does not belong in a URL; use --password-file or REDDB_PASSWORD"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn urls_and_bare_addresses_are_taken() {
        for (text, url) in [
            ("http://127.0.0.1:6380", "http://127.0.0.1:6380/"),
            ("127.0.0.1:6380", "http://127.0.0.1:6380/"),
            ("localhost:1/", "http://localhost:1/"),
            ("[::1]:6380", "http://[::1]:6380/"),
        ] {
            assert_eq!(parse_url(text).expect(text).as_str(), url);
        }
        for text in ["", "https://h", "http://h/admin", "http://h?x", "http://u:p@h", "redis://h"] {
            assert_eq!(parse_url(text).expect_err(text).exit(), Exit::Usage, "{text}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_exit_code_4_with_a_hint() {
        // Bound, so that nobody else gets the port meanwhile, and not listening.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        let closed = socket.local_addr().expect("its address").as_socket().expect("of the internet");
        let args = AdminArgs { admin: closed.to_string(), password_file: None };
        let client = AdminClient::new(&args, None).expect("a client");
        let error = client.get::<serde_json::Value>("/admin/status").await.expect_err("nobody listens there");
        assert_eq!(error.exit(), Exit::Unreachable);
        assert!(error.to_string().contains("reddb serve"), "{error}");
    }
}
