//! `GET /metrics`: the status in Prometheus's text format, made anew at each scrape.
//!
//! Names begin with `reddb_` and end in their unit; what only grows ends in `_total`. LSNs are gauges; Prometheus keeps
//! samples as floats, exact up to 2^53: where every digit matters, use `/admin/status`.

use std::fmt::{self, Write as _};

use super::document::StatusDocument;

/// The `Content-Type` of the text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text.
pub(super) fn render(status: &StatusDocument) -> String {
    let mut page = Page::default();
    page.info(status);
    positions(&mut page, status);
    archive(&mut page, status);
    engine(&mut page, status);
    keys(&mut page, status);
    clients(&mut page, status);
    page.0
}

fn positions(page: &mut Page, status: &StatusDocument) {
    page.gauge("reddb_uptime_seconds", "Time since the server started.", seconds(status.uptime_ms));
    page.gauge("reddb_durable_lsn", "The newest durable record.", status.durable_lsn);
    page.gauge("reddb_archived_lsn", "The newest record that the archive's head vouches for.", status.archived_lsn);
    page.gauge("reddb_flushed_lsn", "The newest record in the engine's own files.", status.flushed_lsn);
    page.gauge("reddb_timeline", "The timeline that is written.", status.timeline);
    page.gauge("reddb_epoch", "The writer's epoch.", status.epoch);
    page.gauge(
        "reddb_durable_record_timestamp_seconds",
        "The time of the newest durable record.",
        seconds(status.durable_time_ms),
    );
    page.counter("reddb_commits_total", "Records committed.", status.commits);
    page.counter("reddb_wal_syncs_total", "Syncs of the log.", status.syncs);
    page.gauge("reddb_wal_bytes", "What the local log takes.", status.wal.bytes);
    page.gauge(
        "reddb_wal_limit_bytes",
        "What the local log may take while the archive does not take it.",
        status.wal.bytes_max,
    );
    if let Some(free) = status.disk.free_bytes {
        page.gauge("reddb_disk_free_bytes", "Free on the data directory's disk.", free);
    }
    page.gauge("reddb_disk_reserve_bytes", "Below this much free, writes are refused.", status.disk.reserve_bytes);
    page.head("reddb_writes_refused", "gauge", "1 while writes are refused, by reason.");
    match &status.refusal {
        Some(refusal) => page.line("reddb_writes_refused", &[("reason", &refusal.code)], 1),
        None => page.line("reddb_writes_refused", &[], 0),
    }
}

fn archive(page: &mut Page, status: &StatusDocument) {
    let archive = &status.archive;
    page.gauge("reddb_archive_online", "1 where the last request to the archive succeeded.", u8::from(archive.online));
    page.gauge("reddb_archive_lag_records", "Records that the archive does not have yet.", archive.lag_records);
    page.gauge("reddb_archive_lag_seconds", "How long the oldest of them has been waiting.", seconds(archive.lag_ms));
    page.counter("reddb_archive_requests_total", "Requests to the archive's store.", archive.requests);
    if let Some(lsn) = archive.snapshot_lsn {
        page.gauge("reddb_snapshot_lsn", "The newest snapshot's LSN.", lsn);
    }
    if let Some(made_ms) = archive.snapshot_time_ms {
        page.gauge("reddb_snapshot_timestamp_seconds", "When the newest snapshot was made.", seconds(made_ms));
    }
    page.gauge("reddb_snapshot_running", "1 while a snapshot is being made.", u8::from(archive.snapshot_running));
    page.gauge(
        "reddb_snapshot_last_ok",
        "1 where the last attempt at a snapshot succeeded.",
        u8::from(archive.snapshot_last_ok),
    );
}

fn engine(page: &mut Page, status: &StatusDocument) {
    let engine = &status.engine;
    page.gauge("reddb_engine_memtable_bytes", "Written but not yet flushed.", engine.memtable_bytes);
    page.gauge("reddb_engine_disk_bytes", "The size of all tables.", engine.disk_bytes);
    page.gauge("reddb_engine_tables", "The number of tables.", engine.tables);
    page.gauge("reddb_engine_level0_runs", "Sorted runs in level 0.", engine.l0_runs);
    page.gauge("reddb_engine_block_cache_bytes", "Bytes in the block cache.", engine.block_cache_bytes);
    page.gauge(
        "reddb_engine_pinned_bytes",
        "Filter and index blocks held in memory outside the block cache.",
        engine.pinned_bytes,
    );
    page.gauge("reddb_engine_hot_bytes", "Bytes in the cache of hot values.", engine.hot_bytes);
    page.counter("reddb_engine_hot_hits_total", "Reads answered by the cache of hot values.", engine.hot_hits);
    page.counter("reddb_engine_hot_misses_total", "Reads that went to the tree.", engine.hot_misses);
    page.gauge(
        "reddb_engine_damaged",
        "1 where damage was met in the data directory's files.",
        u8::from(engine.damage.is_some()),
    );
    page.gauge("reddb_engine_snapshots", "Open snapshots.", engine.snapshots);
    page.counter("reddb_engine_flushes_total", "Flushes.", engine.flushes);
    page.counter("reddb_engine_compactions_total", "Compactions.", engine.compactions);
    page.counter(
        "reddb_engine_stall_seconds_total",
        "Time that writes waited for the background.",
        seconds(engine.stall_ms),
    );
}

fn keys(page: &mut Page, status: &StatusDocument) {
    page.counter("reddb_expired_keys_total", "Keys that expired and were deleted.", status.expired_keys);
    page.head("reddb_keys", "gauge", "Keys, by database.");
    for database in &status.databases {
        page.line("reddb_keys", &[("db", &database.db.to_string())], database.key_count);
    }
    page.head("reddb_expiring_keys", "gauge", "Keys that expire, by database.");
    for database in &status.databases {
        page.line("reddb_expiring_keys", &[("db", &database.db.to_string())], database.expiring_count);
    }
}

fn clients(page: &mut Page, status: &StatusDocument) {
    let clients = &status.clients;
    page.gauge("reddb_clients", "Clients connected.", clients.connected);
    page.gauge("reddb_clients_limit", "How many clients may be connected.", clients.connected_max);
    page.counter("reddb_connections_total", "Connections accepted.", clients.connections);
    page.counter(
        "reddb_connections_refused_total",
        "Connections refused because there were too many.",
        clients.connections_refused,
    );
    page.counter("reddb_commands_total", "Commands executed.", clients.commands);
    page.counter("reddb_command_errors_total", "Errors answered.", clients.errors);
    page.counter("reddb_client_input_bytes_total", "Bytes received from clients.", clients.input_bytes);
    page.counter("reddb_client_output_bytes_total", "Bytes sent to clients.", clients.output_bytes);
}

/// Milliseconds as seconds with three decimals, without a detour over floats.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.head(name, "counter", help);
        self.line(name, &[], value);
    }

    fn info(&mut self, status: &StatusDocument) {
        let (cluster, node) = (status.cluster.to_string(), status.node.to_string());
        self.head("reddb_build_info", "gauge", "Which program serves whose data; always 1.");
        self.line("reddb_build_info", &[("version", &status.version), ("cluster", &cluster), ("node", &node)], 1);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to a String does not fail");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        writeln!(self.0, "{name}{labels} {value}").expect("writing to a String does not fail");
    }
}
