//! `INFO`: what the server tells of itself, in sections of `name:value` lines.
//!
//! The fields that tools for Redis parse are all there. A field that means nothing here has the value that says so (no
//! replicas, nothing evicted); a field whose Redis meaning differs is mapped to the nearest thing: `rdb_…` to snapshots
//! in the archive, `aof_…` to the log, `master_repl_offset` to the durable LSN.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reddb_file::TimelineId;
use sha2::{Digest, Sha256};

use crate::command::table;
use crate::session::Shared;
use crate::status::Status;

/// A section: its name, whether it is among the defaults, and what writes its lines.
struct Section {
    name: &'static str,
    default: bool,
    write: fn(&mut Lines, &Context<'_>),
}

/// Every section, in order.
const SECTIONS: &[Section] = &[
    Section { name: "Server", default: true, write: server },
    Section { name: "Clients", default: true, write: clients },
    Section { name: "Memory", default: true, write: memory },
    Section { name: "Persistence", default: true, write: persistence },
    Section { name: "Stats", default: true, write: stats },
    Section { name: "Replication", default: true, write: replication },
    Section { name: "CPU", default: true, write: cpu },
    Section { name: "Modules", default: true, write: |_, _| {} },
    Section { name: "Commandstats", default: false, write: command_stats },
    Section { name: "Errorstats", default: true, write: error_stats },
    Section { name: "Latencystats", default: false, write: |_, _| {} },
    Section { name: "Cluster", default: true, write: |lines, _| lines.field("cluster_enabled", 0) },
    Section { name: "RedDB", default: true, write: reddb },
    Section { name: "Keyspace", default: true, write: keyspace },
];

struct Context<'a> {
    shared: &'a Shared,
    status: Status,
}

/// The sections that are asked for, or the default ones.
#[must_use]
pub(crate) fn report(shared: &Shared, wanted: &[Bytes]) -> String {
    let wanted: BTreeSet<String> =
        wanted.iter().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    let is = |word: &str| wanted.contains(word);
    let everything = is("everything") || is("all");
    let defaults = wanted.is_empty() || is("default");
    let sections: Vec<&Section> = SECTIONS
        .iter()
        .filter(|section| {
            let modules = section.name == "Modules";
            (everything && (!modules || is("everything")))
                || (defaults && section.default)
                || is(&section.name.to_ascii_lowercase())
        })
        .collect();
    if sections.is_empty() {
        return String::new();
    }
    let context = Context { shared, status: shared.db.status() };
    let mut lines = Lines(String::with_capacity(4096));
    for (index, section) in sections.into_iter().enumerate() {
        if index > 0 {
            lines.0.push_str("\r\n");
        }
        lines.line(format_args!("# {}", section.name));
        (section.write)(&mut lines, &context);
    }
    lines.0
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(line);
        self.0.push_str("\r\n");
    }

    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{name}:{value}"));
    }

    fn zeros(&mut self, names: &[&str]) {
        for name in names {
            self.field(name, 0);
        }
    }
}

fn flag(on: bool) -> u8 {
    u8::from(on)
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn server(lines: &mut Lines, context: &Context<'_>) {
    let shared = context.shared;
    let uptime = shared.started.elapsed().as_secs();
    lines.field("redis_version", "7.0.15");
    lines.field("reddb_version", env!("CARGO_PKG_VERSION"));
    lines.field("redis_git_sha1", "00000000");
    lines.field("redis_git_dirty", 0);
    lines.field("redis_build_id", "0");
    lines.field("redis_mode", "standalone");
    let kernel = read_trimmed("/proc/sys/kernel/osrelease").unwrap_or_default();
    lines.line(format_args!("os:{} {kernel} {}", capitalised(std::env::consts::OS), std::env::consts::ARCH));
    lines.field("arch_bits", usize::BITS);
    lines.field("monotonic_clock", "POSIX clock_gettime");
    lines.field("multiplexing_api", "epoll");
    lines.field("process_id", std::process::id());
    lines.field("process_supervised", "no");
    lines.field("run_id", &shared.run_id);
    lines.field("tcp_port", shared.listening.first().map_or(0, std::net::SocketAddr::port));
    lines.field("server_time_usec", unix_now().as_micros());
    lines.field("uptime_in_seconds", uptime);
    lines.field("uptime_in_days", uptime / 86_400);
    lines.field("hz", 10);
    lines.field("configured_hz", 10);
    lines.field("lru_clock", unix_now().as_secs() & 0xff_ffff);
    let executable = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    lines.field("executable", executable);
    lines.field("config_file", "");
    lines.field("io_threads_active", u8::from(context.shared.is_spread()));
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn clients(lines: &mut Lines, context: &Context<'_>) {
    lines.field("connected_clients", context.shared.clients.count());
    lines.field("cluster_connections", 0);
    lines.field("maxclients", context.shared.settings.clients_max());
    lines.zeros(&[
        "client_recent_max_input_buffer",
        "client_recent_max_output_buffer",
        "blocked_clients",
        "tracking_clients",
        "clients_in_timeout_table",
    ]);
}

fn memory(lines: &mut Lines, context: &Context<'_>) {
    static PEAK: AtomicU64 = AtomicU64::new(0);
    let resident = resident_bytes();
    let peak = PEAK.fetch_max(resident, Relaxed).max(resident);
    let engine = &context.status.engine;
    let caches = engine.memtable_bytes + engine.block_cache_bytes + engine.hot_bytes;
    let overhead = resident.saturating_sub(caches);
    let total = meminfo_total_bytes();
    let setting = |name: &str| {
        let value = context.shared.settings.value(name).unwrap_or_default();
        String::from_utf8_lossy(&value).into_owned()
    };
    let maxmemory: u64 = setting("maxmemory").parse().unwrap_or(0);
    lines.field("used_memory", resident);
    lines.field("used_memory_human", human(resident));
    lines.field("used_memory_rss", resident);
    lines.field("used_memory_rss_human", human(resident));
    lines.field("used_memory_peak", peak);
    lines.field("used_memory_peak_human", human(peak));
    lines.line(format_args!("used_memory_peak_perc:{}%", hundredths(resident, peak)));
    lines.field("used_memory_overhead", overhead);
    lines.field("used_memory_startup", 0);
    lines.field("used_memory_dataset", caches);
    lines.line(format_args!("used_memory_dataset_perc:{}%", hundredths(caches, resident)));
    lines.field("allocator_allocated", resident);
    lines.field("allocator_active", resident);
    lines.field("allocator_resident", resident);
    lines.field("total_system_memory", total);
    lines.field("total_system_memory_human", human(total));
    lines.zeros(&["used_memory_lua", "used_memory_vm_eval"]);
    lines.field("used_memory_lua_human", "0B");
    lines.zeros(&[
        "used_memory_scripts_eval",
        "number_of_cached_scripts",
        "number_of_functions",
        "number_of_libraries",
    ]);
    lines.zeros(&["used_memory_vm_functions", "used_memory_vm_total"]);
    lines.field("used_memory_vm_total_human", "0B");
    lines.zeros(&["used_memory_functions", "used_memory_scripts"]);
    lines.field("used_memory_scripts_human", "0B");
    lines.field("maxmemory", maxmemory);
    lines.field("maxmemory_human", human(maxmemory));
    lines.field("maxmemory_policy", setting("maxmemory-policy"));
    lines.field("allocator_frag_ratio", "1.00");
    lines.field("allocator_frag_bytes", 0);
    lines.field("allocator_rss_ratio", "1.00");
    lines.field("allocator_rss_bytes", 0);
    lines.field("rss_overhead_ratio", "1.00");
    lines.field("rss_overhead_bytes", 0);
    lines.field("mem_fragmentation_ratio", "1.00");
    lines.zeros(&[
        "mem_fragmentation_bytes",
        "mem_not_counted_for_evict",
        "mem_replication_backlog",
        "mem_total_replication_buffers",
        "mem_clients_slaves",
        "mem_clients_normal",
        "mem_cluster_links",
        "mem_aof_buffer",
    ]);
    // The program's; see `main.rs`.
    lines.field("mem_allocator", "jemalloc");
    lines.zeros(&["active_defrag_running", "lazyfree_pending_objects", "lazyfreed_objects"]);
}

fn persistence(lines: &mut Lines, context: &Context<'_>) {
    let status = &context.status;
    let archive = &status.archive;
    let newest_snapshot = archive.snapshot_lsn.map_or(0, reddb_file::Lsn::get);
    lines.zeros(&["loading", "async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age"]);
    lines.field("current_fork_perc", "0.00");
    lines.zeros(&["current_save_keys_processed", "current_save_keys_total"]);
    lines.field("rdb_changes_since_last_save", status.durable_lsn.get().saturating_sub(newest_snapshot));
    lines.field("rdb_bgsave_in_progress", flag(archive.snapshot_running));
    lines.field("rdb_last_save_time", context.shared.db.last_save_unix_s());
    lines.field("rdb_last_bgsave_status", if archive.snapshot_last_error.is_none() { "ok" } else { "err" });
    lines.field("rdb_last_bgsave_time_sec", -1);
    lines.field("rdb_current_bgsave_time_sec", if archive.snapshot_running { 0 } else { -1 });
    lines.zeros(&["rdb_saves", "rdb_last_cow_size", "rdb_last_load_keys_expired", "rdb_last_load_keys_loaded"]);
    lines.field("aof_enabled", 1);
    lines.zeros(&["aof_rewrite_in_progress", "aof_rewrite_scheduled"]);
    lines.field("aof_last_rewrite_time_sec", -1);
    lines.field("aof_current_rewrite_time_sec", -1);
    lines.field("aof_last_bgrewrite_status", "ok");
    lines.zeros(&["aof_rewrites", "aof_rewrites_consecutive_failures"]);
    lines.field("aof_last_write_status", if status.refusal.is_none() { "ok" } else { "err" });
    lines.field("aof_last_cow_size", 0);
    lines.field("module_fork_in_progress", 0);
    lines.field("module_fork_last_cow_size", 0);
    lines.field("aof_current_size", status.wal_bytes);
    lines.field("aof_base_size", 0);
    lines.zeros(&["aof_pending_rewrite", "aof_buffer_length", "aof_pending_bio_fsync", "aof_delayed_fsync"]);
}

fn stats(lines: &mut Lines, context: &Context<'_>) {
    let stats = &context.shared.stats;
    let totals = stats.totals();
    let count = |count: &AtomicU64| count.load(Relaxed);
    let kilobytes = |bytes: u64| format!("{}.{:02}", bytes / 1024, bytes % 1024 * 100 / 1024);
    lines.field("total_connections_received", count(&stats.connections));
    lines.field("total_commands_processed", totals.commands);
    lines.field("instantaneous_ops_per_sec", count(&stats.last_second.commands));
    lines.field("total_net_input_bytes", totals.input_bytes);
    lines.field("total_net_output_bytes", totals.output_bytes);
    lines.zeros(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    lines.field("instantaneous_input_kbps", kilobytes(count(&stats.last_second.input_bytes)));
    lines.field("instantaneous_output_kbps", kilobytes(count(&stats.last_second.output_bytes)));
    lines.field("instantaneous_input_repl_kbps", "0.00");
    lines.field("instantaneous_output_repl_kbps", "0.00");
    lines.field("rejected_connections", count(&stats.connections_refused));
    lines.zeros(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
    lines.field("expired_keys", context.status.expired_keys);
    lines.field("expired_stale_perc", "0.00");
    lines.zeros(&[
        "expired_time_cap_reached_count",
        "expire_cycle_cpu_milliseconds",
        "evicted_keys",
        "evicted_clients",
        "total_eviction_exceeded_time",
        "current_eviction_exceeded_time",
    ]);
    lines.field("keyspace_hits", totals.hits);
    lines.field("keyspace_misses", totals.misses);
    lines.zeros(&[
        "pubsub_channels",
        "pubsub_patterns",
        "pubsubshard_channels",
        "latest_fork_usec",
        "total_forks",
        "migrate_cached_sockets",
        "slave_expires_tracked_keys",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
        "tracking_total_keys",
        "tracking_total_items",
        "tracking_total_prefixes",
        "unexpected_error_replies",
    ]);
    lines.field("total_error_replies", count(&stats.errors));
    lines.field("dump_payload_sanitizations", 0);
    lines.field("total_reads_processed", count(&stats.reads));
    lines.field("total_writes_processed", totals.writes);
    lines.zeros(&[
        "io_threaded_reads_processed",
        "io_threaded_writes_processed",
        "reply_buffer_shrinks",
        "reply_buffer_expands",
    ]);
}

fn replication(lines: &mut Lines, context: &Context<'_>) {
    lines.field("role", "master");
    lines.field("connected_slaves", 0);
    lines.field("master_failover_state", "no-failover");
    lines.field("master_replid", history_id(context.status.cluster.as_bytes(), context.status.timeline));
    lines.field("master_replid2", "0".repeat(40));
    lines.field("master_repl_offset", context.status.durable_lsn);
    lines.field("second_repl_offset", -1);
    lines.field("repl_backlog_active", 0);
    lines.field("repl_backlog_size", 1_048_576);
    lines.field("repl_backlog_first_byte_offset", 0);
    lines.field("repl_backlog_histlen", 0);
}

/// Forty hex digits that name one branch of one history.
fn history_id(cluster: &[u8; 16], timeline: TimelineId) -> String {
    let digest = Sha256::new().chain_update(cluster).chain_update(timeline.get().to_be_bytes()).finalize();
    digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}

fn cpu(lines: &mut Lines, _: &Context<'_>) {
    let times = cpu_ticks().unwrap_or_default();
    let seconds = |ticks: u64| format!("{}.{:02}0000", ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND);
    for (name, ticks) in [
        ("used_cpu_sys", times.system),
        ("used_cpu_user", times.user),
        ("used_cpu_sys_children", times.children_system),
        ("used_cpu_user_children", times.children_user),
        ("used_cpu_sys_main_thread", times.system),
        ("used_cpu_user_main_thread", times.user),
    ] {
        lines.field(name, seconds(ticks));
    }
}

fn command_stats(lines: &mut Lines, context: &Context<'_>) {
    for counter in 0..table::counter_count() {
        let Some(name) = table::counter_name(counter) else { continue };
        let counts = context.shared.stats.of_command(counter);
        let (calls, busy_us) = (counts.calls, counts.busy_us);
        let (rejected, failed) = (counts.rejected, counts.failed);
        if calls + rejected + failed > 0 {
            let average = hundredths_of(busy_us, calls);
            lines.line(format_args!(
                "cmdstat_{name}:calls={calls},usec={busy_us},usec_per_call={average},rejected_calls={rejected},\
                 failed_calls={failed}"
            ));
        }
    }
}

fn error_stats(lines: &mut Lines, context: &Context<'_>) {
    for (prefix, count) in context.shared.stats.errors_by_prefix() {
        lines.line(format_args!("errorstat_{prefix}:count={count}"));
    }
}

fn reddb(lines: &mut Lines, context: &Context<'_>) {
    let status = &context.status;
    let (archive, engine) = (&status.archive, &status.engine);
    lines.field("cluster_id", status.cluster);
    lines.field("node_id", status.node);
    lines.field("timeline", status.timeline);
    lines.field("epoch", status.epoch);
    lines.field("durable_lsn", status.durable_lsn);
    lines.field("durable_time_ms", status.durable_time_ms);
    lines.field("archived_lsn", status.archived_lsn);
    lines.field("flushed_lsn", status.flushed_lsn);
    lines.field("wal_bytes", status.wal_bytes);
    lines.field("commits", status.commits);
    lines.field("syncs", status.syncs);
    lines.field("writes_refused", status.refusal.as_ref().map_or("no", |(code, _)| code));
    lines.field("writes_refused_reason", status.refusal.as_ref().map_or("", |(_, reason)| reason));
    lines.field("clock_offset_ms", status.clock_offset_ms);
    lines.field("archive_url", &archive.url);
    lines.field("archive_online", flag(archive.online));
    lines.field("archive_last_error", archive.last_error.as_deref().unwrap_or_default().replace(['\r', '\n'], " "));
    lines.field("archive_lag_records", archive.lag_records);
    lines.field("archive_lag_ms", archive.lag_ms);
    lines.field("archive_requests", archive.requests);
    lines.field("snapshot_lsn", archive.snapshot_lsn.map_or(0, reddb_file::Lsn::get));
    lines.field("snapshot_time_ms", archive.snapshot_time_ms.unwrap_or(0));
    lines.field("snapshot_running", flag(archive.snapshot_running));
    lines.field("engine_disk_bytes", engine.disk_bytes);
    lines.field("engine_tables", engine.tables);
    lines.field("engine_memtable_bytes", engine.memtable_bytes);
    lines.field("engine_block_cache_bytes", engine.block_cache_bytes);
    lines.field("engine_hot_bytes", engine.hot_bytes);
    lines.field("engine_hot_hits", engine.hot_hits);
    lines.field("engine_hot_misses", engine.hot_misses);
    lines.field("engine_flushes", engine.flushes);
    lines.field("engine_compactions", engine.compactions);
    lines.field("engine_stall_ms", engine.stall.as_millis());
}

fn keyspace(lines: &mut Lines, context: &Context<'_>) {
    for (db, state) in &context.status.databases {
        if state.key_count > 0 {
            let (keys, expires) = (state.key_count, state.expiring_count);
            lines.line(format_args!("db{db}:keys={keys},expires={expires},avg_ttl=0"));
        }
    }
}

/// `used` as hundredths of a percent of `whole`, in decimal.
fn hundredths(used: u64, whole: u64) -> String {
    hundredths_of(used.saturating_mul(100), whole)
}

/// A quotient with two decimals.
fn hundredths_of(dividend: u64, divisor: u64) -> String {
    let scaled = u128::from(dividend) * 100 / u128::from(divisor.max(1));
    format!("{}.{:02}", scaled / 100, scaled % 100)
}

/// A number of bytes as people write it.
fn human(bytes: u64) -> String {
    const UNITS: &[(u64, &str)] = &[(1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}{name}", hundredths_of(bytes, *unit)),
        None => format!("{bytes}B"),
    }
}

/// The kernel's unit of CPU time in `/proc`, for all processors that Linux runs on.
const TICKS_PER_SECOND: u64 = 100;

#[derive(Clone, Copy, Debug, Default)]
struct CpuTicks {
    user: u64,
    system: u64,
    children_user: u64,
    children_system: u64,
}

fn cpu_ticks() -> Option<CpuTicks> {
    let stat = read_trimmed("/proc/self/stat")?;
    // The second field is the program's name in parentheses, which may hold anything; the third follows its end.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11).map(|field| field.parse().ok());
    let mut next = || fields.next().flatten();
    Some(CpuTicks { user: next()?, system: next()?, children_user: next()?, children_system: next()? })
}

fn read_trimmed(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Memory of the process that is in RAM, in bytes; 0 where that is not known.
fn resident_bytes() -> u64 {
    kilobytes_of("/proc/self/status", "VmRSS:").unwrap_or(0)
}

fn meminfo_total_bytes() -> u64 {
    kilobytes_of("/proc/meminfo", "MemTotal:").unwrap_or(0)
}

fn kilobytes_of(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1536), "1.50K");
        assert_eq!(human(25_276_502_016), "23.54G");
        assert_eq!(hundredths(1, 3), "33.33");
        assert_eq!(hundredths(1, 0), "100.00");
    }

    #[test]
    fn the_process_is_known() {
        assert!(resident_bytes() > 0);
        assert!(meminfo_total_bytes() > resident_bytes());
        assert!(cpu_ticks().is_some());
    }

    #[test]
    fn a_history_has_one_name() {
        let name = history_id(&[7; 16], TimelineId::FIRST);
        assert_eq!(name.len(), 40);
        assert_ne!(name, history_id(&[7; 16], TimelineId::new(2)));
        assert_ne!(name, history_id(&[8; 16], TimelineId::FIRST));
    }
}
