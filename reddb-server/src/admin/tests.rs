//! The admin port over a real socket.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Config;

struct Server {
    _temp: tempfile::TempDir,
    database: Database,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
    client: Client,
}

impl Server {
    async fn start(password: Option<&str>) -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let mut config = Config::new(temp.path().join("data"), 16 << 20);
        config.wal_segment_bytes = 1 << 20;
        config.disk_reserve_bytes = 0;
        config.archive.interval = Duration::from_millis(20);
        let database = Database::open(config).await.expect("opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let clients = || ClientsDocument {
            connected: 3,
            connected_max: 10,
            connections: 5,
            connections_refused: 0,
            commands: 7,
            errors: 1,
            input_bytes: 100,
            output_bytes: 200,
        };
        let admin = Admin::new(database.clone(), password, Arc::new(clients));
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(admin.serve(listener, async move {
            stopped.await.ok();
        }));
        // Whatever proxy the environment names, the way to loopback is not through it.
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { _temp: temp, database, address, stop, task, client }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.request(Method::GET, path).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let answer = self.request(Method::POST, path).json(body).send().await.expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    async fn end(self) {
        self.stop.send(()).expect("the port is served");
        self.task.await.expect("no panic").expect("served to the end");
        self.database.close(Duration::from_secs(5)).await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_and_a_backup_are_made_and_shown() {
    let server = Server::start(None).await;
    server.database.connect().execute(&["SET", "a", "1"]).await.expect("is written");
    let (_, document) = server.get("/admin/status").await;
    let document: Value = serde_json::from_str(&document).expect("JSON");
    // No reserve was asked for: what is said is what the engine needs.
    assert!(document["disk"]["reserve_bytes"].as_u64() >= Some(1 << 20), "{document}");
    let (status, mark) = server.post("/admin/mark", &json!({"name": "here"})).await;
    assert_eq!((status, &mark["lsn"], &mark["name"]), (StatusCode::OK, &json!(2), &json!("here")), "{mark}");
    let (status, backup) = server.post("/admin/backup", &json!({})).await;
    assert_eq!((status, &backup["lsn"]), (StatusCode::OK, &json!(2)), "{backup}");
    let (status, document) = server.get("/admin/status").await;
    let document: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(status, StatusCode::OK);
    let text = document.to_string();
    assert!(text.contains("\"durable_lsn\":2") || text.contains("\"lsn\":2"), "{text}");
    let (status, metrics) = server.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(name.starts_with("reddb_") && value.parse::<f64>().is_ok(), "{line}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_writes_are_taken() {
    let server = Server::start(None).await;
    assert_eq!(server.get("/health/live").await.0, StatusCode::OK);
    assert_eq!(server.get("/health/ready").await.0, StatusCode::OK);
    let (stop, task, address) = (server.stop, server.task, server.address);
    server.database.close(Duration::from_secs(5)).await.expect("closes");
    let answer = server.client.get(format!("http://{address}/health/ready")).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().await.expect("a body").contains("shutting_down"));
    stop.send(()).expect("the port is served");
    task.await.expect("no panic").expect("served to the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_gets_an_error_with_a_hint() {
    let server = Server::start(None).await;
    for (method, path, body, expected) in [
        (Method::GET, "/nothing", None, StatusCode::NOT_FOUND),
        (Method::GET, "/admin/backup", None, StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/admin/mark", Some("{"), StatusCode::BAD_REQUEST),
        (Method::POST, "/admin/mark", Some("{\"name\": \"../x\"}"), StatusCode::BAD_REQUEST),
        (Method::POST, "/admin/mark", Some("{\"label\": \"x\"}"), StatusCode::BAD_REQUEST),
    ] {
        let mut request = server.request(method.clone(), path).header("content-type", "application/json");
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), expected, "{method} {path}");
        let document: Value = answer.json().await.expect("JSON");
        assert!(document.to_string().contains("hint"), "{document}");
    }
    let large = "x".repeat(100_000);
    let answer = server.request(Method::POST, "/admin/mark").header("content-type", "application/json").body(large);
    let answer = answer.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json::<Value>().await.expect("JSON")["code"], "too_large");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_and_foreign_names_are_refused() {
    let server = Server::start(None).await;
    let foreign = server.request(Method::GET, "/admin/status").header("host", "evil.example");
    assert_eq!(foreign.send().await.expect("an answer").status(), StatusCode::FORBIDDEN);
    let crossing = server.request(Method::POST, "/admin/backup").header("origin", "http://evil.example");
    assert_eq!(crossing.send().await.expect("an answer").status(), StatusCode::FORBIDDEN);
    let form =
        server.request(Method::POST, "/admin/mark").header("content-type", "text/plain").body("{\"name\":\"x\"}");
    assert_eq!(form.send().await.expect("an answer").status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_everywhere_but_health() {
    let server = Server::start(Some("secret")).await;
    assert_eq!(server.get("/health/live").await.0, StatusCode::OK);
    assert_eq!(server.get("/admin/status").await.0, StatusCode::UNAUTHORIZED);
    for (token, expected) in [("wrong", StatusCode::UNAUTHORIZED), ("secret", StatusCode::OK)] {
        let answer = server.request(Method::GET, "/admin/status").bearer_auth(token).send().await.expect("an answer");
        assert_eq!(answer.status(), expected, "{token}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_exactly_what_is_served() {
    let server = Server::start(None).await;
    let (status, text) = server.get("/admin/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let described: Vec<_> = paths.keys().map(String::as_str).collect();
    for path in ["/health/live", "/health/ready", "/metrics", "/admin/status", "/admin/backup", "/admin/mark"] {
        assert!(described.contains(&path), "{path} is described");
    }
    for (path, methods) in paths {
        for method in methods.as_object().expect("methods").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let answer = server.request(method.clone(), path).send().await.expect("an answer");
            let served = ![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&answer.status());
            assert!(served, "{method} {path}: {}", answer.status());
        }
    }
    server.end().await;
}
