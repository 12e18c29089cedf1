//! Who may use the admin port.
//!
//! * With a password, everything but the health checks needs `Authorization: Bearer <password>`.
//! * Without one, the port relies on who can reach it, so a browser must not be talked into reaching it for somebody else:
//!   the `Host` must be an address or `localhost` (a name could be an attacker's, pointed here), and a request that
//!   changes something must not come from another site.

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::error::ApiError;

/// The rules of one port.
#[derive(Clone)]
pub(super) struct Guard {
    password_digest: Option<[u8; 32]>,
}

impl Guard {
    pub(super) fn new(password: Option<&str>) -> Self {
        Self { password_digest: password.map(|password| Sha256::digest(password).into()) }
    }

    /// Whether the request may go on.
    pub(super) fn judge(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
        if path.starts_with("/health/") && method == Method::GET {
            return Ok(());
        }
        if let Some(digest) = &self.password_digest {
            return check_password(digest, headers);
        }
        let host = host_of(headers)?;
        if !is_address_or_localhost(host) {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "foreign_host",
                format!("this port is not served under the name {host:?}"),
                "use the address or localhost in the URL, or give the server a password",
            ));
        }
        if *method != Method::GET && *method != Method::HEAD {
            refuse_other_sites(host, headers)?;
        }
        Ok(())
    }
}

fn check_password(digest: &[u8; 32], headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    // Digests are compared, all of their bytes: the time taken says nothing about the password.
    let matches = token.is_some_and(|token| {
        let given: [u8; 32] = Sha256::digest(token).into();
        given.iter().zip(digest).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    });
    if matches {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "this server has a password",
        "send `Authorization: Bearer <password>`; the reddb commands take --password-file or REDDB_PASSWORD",
    ))
}

fn host_of(headers: &HeaderMap) -> Result<&str, ApiError> {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).ok_or_else(|| {
        ApiError::bad_request("the request has no usable Host header", "use an ordinary HTTP/1.1 client")
    })
}

fn is_address_or_localhost(authority: &str) -> bool {
    let host = without_port(authority);
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

fn refuse_other_sites(host: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let own_origin = |origin: &str| origin.strip_prefix("http://").is_some_and(|rest| rest.eq_ignore_ascii_case(host));
    let foreign_origin = text("origin").is_some_and(|origin| !own_origin(origin));
    let foreign_site = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    if foreign_origin || foreign_site {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "cross_origin",
            "a page of another site may not use this port",
            "call it from a program, not from a web page",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    fn code(guard: &Guard, method: Method, path: &str, pairs: &[(&'static str, &str)]) -> String {
        match guard.judge(&method, path, &headers(pairs)) {
            Ok(()) => "ok".into(),
            Err(error) => error.document.code,
        }
    }

    #[test]
    fn addresses_and_localhost_are_served_names_are_not() {
        let guard = Guard::new(None);
        for host in ["127.0.0.1:6380", "localhost:6380", "LOCALHOST", "[::1]:6380", "[::1]", "10.1.2.3:1", "192.0.2.1"]
        {
            assert_eq!(code(&guard, Method::POST, "/admin/backup", &[("host", host)]), "ok", "{host}");
        }
        for host in
            ["evil.example", "evil.example:6380", "localhost.evil.example", "127.0.0.1.evil.example:6380", "", "a:b"]
        {
            assert_eq!(code(&guard, Method::GET, "/admin/status", &[("host", host)]), "foreign_host", "{host}");
        }
        assert_eq!(code(&guard, Method::GET, "/admin/status", &[]), "bad_request");
    }

    #[test]
    fn other_sites_may_not_change_anything() {
        let guard = Guard::new(None);
        let host = ("host", "localhost:6380");
        for (name, value, expected) in [
            ("origin", "http://localhost:6380", "ok"),
            ("origin", "http://localhost:8000", "cross_origin"),
            ("origin", "https://evil.example", "cross_origin"),
            ("origin", "null", "cross_origin"),
            ("sec-fetch-site", "cross-site", "cross_origin"),
            ("sec-fetch-site", "same-site", "cross_origin"),
            ("sec-fetch-site", "same-origin", "ok"),
        ] {
            assert_eq!(code(&guard, Method::POST, "/admin/mark", &[host, (name, value)]), expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_password_is_asked_for_everywhere_but_at_the_health_checks() {
        let guard = Guard::new(Some("sesame"));
        let host = ("host", "reddb.example");
        for (value, expected) in [
            ("Bearer sesame", "ok"),
            ("bearer sesame", "ok"),
            ("Bearer sesamE", "unauthorized"),
            ("Bearer ", "unauthorized"),
            ("Basic sesame", "unauthorized"),
            ("sesame", "unauthorized"),
        ] {
            let pairs = [host, ("authorization", value)];
            assert_eq!(code(&guard, Method::GET, "/metrics", &pairs), expected, "{value}");
        }
        assert_eq!(code(&guard, Method::POST, "/admin/mark", &[host]), "unauthorized");
        assert_eq!(code(&guard, Method::GET, "/health/ready", &[host]), "ok");
        assert_eq!(code(&guard, Method::POST, "/health/ready", &[host]), "unauthorized");
    }
}
