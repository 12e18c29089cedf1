//! The settings that `CONFIG` knows: their names, defaults and forms.
//!
//! Most exist because tools and test suites set them; they are kept and given back, and act on nothing here, since what
//! they tune does not exist here.

/// What a setting's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `yes` or `no`.
    Flag,
    /// A whole number between two others.
    Integer(i64, i64),
    /// A number of bytes, with units.
    Bytes,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Anything.
    Text,
    /// Pairs of seconds and changes.
    SavePoints,
    /// Classes of keyspace events.
    EventClasses,
    /// Quadruples of class, hard limit, soft limit and seconds.
    BufferLimits,
    /// Decided when the process starts.
    Fixed,
}

/// One setting.
#[derive(Debug)]
pub(super) struct Name {
    /// Its name.
    pub(super) name: &'static str,
    /// Its older name.
    pub(super) alias: Option<&'static str>,
    /// Its value at the start.
    pub(super) default: &'static str,
    /// Its form.
    pub(super) kind: Kind,
}

const fn name(name: &'static str, default: &'static str, kind: Kind) -> Name {
    Name { name, alias: None, default, kind }
}

const fn alias(name: &'static str, alias: &'static str, default: &'static str, kind: Kind) -> Name {
    Name { name, alias: Some(alias), default, kind }
}

const INT_MAX: i64 = 2_147_483_647;
const INT_MIN: i64 = -2_147_483_648;
const UINT_MAX: i64 = 4_294_967_295;

/// Every setting, by name.
pub(super) const NAMES: &[Name] = &[
    name("acllog-max-len", "128", Kind::Integer(0, i64::MAX)),
    name("active-defrag-cycle-max", "25", Kind::Integer(1, 99)),
    name("active-defrag-cycle-min", "1", Kind::Integer(1, 99)),
    name("active-defrag-ignore-bytes", "104857600", Kind::Bytes),
    name("active-defrag-max-scan-fields", "1000", Kind::Integer(1, i64::MAX)),
    name("active-defrag-threshold-lower", "10", Kind::Integer(0, 1000)),
    name("active-defrag-threshold-upper", "100", Kind::Integer(0, 1000)),
    name("active-expire-effort", "1", Kind::Integer(1, 10)),
    name("activedefrag", "no", Kind::Flag),
    name("activerehashing", "yes", Kind::Flag),
    name("aof-disable-auto-gc", "no", Kind::Flag),
    name("aof-load-truncated", "yes", Kind::Flag),
    name("aof-rewrite-incremental-fsync", "yes", Kind::Flag),
    name("aof-timestamp-enabled", "no", Kind::Flag),
    name("aof-use-rdb-preamble", "yes", Kind::Flag),
    name("appendfsync", "always", Kind::Choice(&["everysec", "always", "no"])),
    name("appendonly", "yes", Kind::Flag),
    name("auto-aof-rewrite-min-size", "67108864", Kind::Bytes),
    name("auto-aof-rewrite-percentage", "100", Kind::Integer(0, INT_MAX)),
    name("bind", "", Kind::Fixed),
    alias("busy-reply-threshold", "lua-time-limit", "5000", Kind::Integer(0, i64::MAX)),
    name(
        "client-output-buffer-limit",
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        Kind::BufferLimits,
    ),
    name("client-query-buffer-limit", "1073741824", Kind::Bytes),
    name("databases", "16", Kind::Fixed),
    name("dir", "", Kind::Fixed),
    name("dynamic-hz", "yes", Kind::Flag),
    alias("hash-max-listpack-entries", "hash-max-ziplist-entries", "512", Kind::Integer(0, i64::MAX)),
    alias("hash-max-listpack-value", "hash-max-ziplist-value", "64", Kind::Bytes),
    name("hll-sparse-max-bytes", "3000", Kind::Bytes),
    name("hz", "10", Kind::Integer(0, INT_MAX)),
    name("latency-monitor-threshold", "0", Kind::Integer(0, i64::MAX)),
    name("latency-tracking", "yes", Kind::Flag),
    name("latency-tracking-info-percentiles", "50 99 99.9", Kind::Text),
    name("lazyfree-lazy-eviction", "no", Kind::Flag),
    name("lazyfree-lazy-expire", "no", Kind::Flag),
    name("lazyfree-lazy-server-del", "no", Kind::Flag),
    name("lazyfree-lazy-user-del", "no", Kind::Flag),
    name("lazyfree-lazy-user-flush", "no", Kind::Flag),
    name("lfu-decay-time", "1", Kind::Integer(0, INT_MAX)),
    name("lfu-log-factor", "10", Kind::Integer(0, INT_MAX)),
    name("list-compress-depth", "0", Kind::Integer(0, INT_MAX)),
    alias("list-max-listpack-size", "list-max-ziplist-size", "-2", Kind::Integer(INT_MIN, INT_MAX)),
    name("loglevel", "notice", Kind::Choice(&["debug", "verbose", "notice", "warning"])),
    name("maxclients", "10000", Kind::Integer(1, UINT_MAX)),
    name("maxmemory", "0", Kind::Bytes),
    name("maxmemory-clients", "0", Kind::Bytes),
    name("maxmemory-eviction-tenacity", "10", Kind::Integer(0, 100)),
    name(
        "maxmemory-policy",
        "noeviction",
        Kind::Choice(&[
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "noeviction",
        ]),
    ),
    name("maxmemory-samples", "5", Kind::Integer(1, INT_MAX)),
    alias("min-replicas-max-lag", "min-slaves-max-lag", "10", Kind::Integer(0, INT_MAX)),
    alias("min-replicas-to-write", "min-slaves-to-write", "0", Kind::Integer(0, 0)),
    name("no-appendfsync-on-rewrite", "no", Kind::Flag),
    name("notify-keyspace-events", "", Kind::EventClasses),
    name("port", "", Kind::Fixed),
    name("protected-mode", "yes", Kind::Flag),
    name("proto-max-bulk-len", "134217728", Kind::Bytes),
    name("rdb-save-incremental-fsync", "yes", Kind::Flag),
    name("rdbchecksum", "yes", Kind::Fixed),
    name("rdbcompression", "yes", Kind::Flag),
    name("repl-backlog-size", "1048576", Kind::Bytes),
    name("repl-backlog-ttl", "3600", Kind::Integer(0, i64::MAX)),
    alias("repl-ping-replica-period", "repl-ping-slave-period", "10", Kind::Integer(1, INT_MAX)),
    name("repl-timeout", "60", Kind::Integer(1, INT_MAX)),
    name("replica-ignore-disk-write-errors", "no", Kind::Flag),
    alias("replica-ignore-maxmemory", "slave-ignore-maxmemory", "yes", Kind::Flag),
    alias("replica-lazy-flush", "slave-lazy-flush", "no", Kind::Flag),
    alias("replica-priority", "slave-priority", "100", Kind::Integer(0, INT_MAX)),
    alias("replica-read-only", "slave-read-only", "yes", Kind::Flag),
    alias("replica-serve-stale-data", "slave-serve-stale-data", "yes", Kind::Flag),
    name("requirepass", "", Kind::Text),
    name("save", "", Kind::SavePoints),
    name("set-max-intset-entries", "512", Kind::Integer(0, i64::MAX)),
    name("shutdown-timeout", "10", Kind::Integer(0, INT_MAX)),
    name("slowlog-log-slower-than", "10000", Kind::Integer(-1, i64::MAX)),
    name("slowlog-max-len", "128", Kind::Integer(0, i64::MAX)),
    name("stop-writes-on-bgsave-error", "yes", Kind::Flag),
    name("stream-node-max-bytes", "4096", Kind::Bytes),
    name("stream-node-max-entries", "100", Kind::Integer(0, i64::MAX)),
    name("tcp-backlog", "511", Kind::Fixed),
    name("tcp-keepalive", "300", Kind::Integer(0, INT_MAX)),
    name("timeout", "0", Kind::Integer(0, INT_MAX)),
    name("tracking-table-max-keys", "1000000", Kind::Integer(0, i64::MAX)),
    alias("zset-max-listpack-entries", "zset-max-ziplist-entries", "128", Kind::Integer(0, i64::MAX)),
    alias("zset-max-listpack-value", "zset-max-ziplist-value", "64", Kind::Bytes),
];
