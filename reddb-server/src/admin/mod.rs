//! The admin port: health, metrics, status, and the few acts that an operator asks a running server for.
//!
//! HTTP/1.1 with JSON bodies, on loopback unless told otherwise. `guard` decides who may use it. Nothing here changes
//! data; what takes long (a backup) answers when it is done.

pub(crate) mod document;
mod error;
mod guard;
mod metrics;
mod openapi;
mod routes;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpListener;

pub(crate) use self::document::ClientsDocument;
pub(crate) use self::error::ErrorDocument;
use self::guard::Guard;
use crate::database::Database;

/// How a port is asked about its clients.
pub(crate) type CountClients = dyn Fn() -> ClientsDocument + Send + Sync;

/// What the admin port serves.
#[derive(Clone)]
pub(crate) struct Admin {
    database: Database,
    count_clients: Arc<CountClients>,
    guard: Guard,
    started: Instant,
}

impl Admin {
    /// The admin services of a database. `count_clients` says how the data port is doing.
    #[must_use]
    pub(crate) fn new(database: Database, password: Option<&str>, count_clients: Arc<CountClients>) -> Self {
        Self { database, count_clients, guard: Guard::new(password), started: Instant::now() }
    }

    /// Serves until `stop` is ready; requests that have begun are answered.
    ///
    /// # Errors
    /// Where the listener fails for good.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        axum::serve(listener, routes::router(self)).with_graceful_shutdown(stop).await
    }
}
