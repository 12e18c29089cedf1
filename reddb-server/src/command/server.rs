//! COMMAND, INFO, CONFIG, FUNCTION, TIME, WAIT, LASTSAVE, BGSAVE, SAVE, ROLE, LOLWUT, and RedDB's own RED.LSN and RED.DIGEST.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::client::timeout_argument;
use super::connection::{SessionResult, command};
use super::table::{SessionCommand, When, unknown_subcommand};
use super::{Args, describe, help_lines, parse};
use crate::info;
use crate::reply::{CommandError, Reply};
use crate::session::{Answer, Later, Session};

const ADMIN: &[&str] = &["admin", "noscript", "no_async_loading"];

/// The commands of this file.
pub(crate) const COMMANDS: &[SessionCommand] = &[
    command(
        ("command", -1, &["loading", "stale"]),
        ("server", "2.8.13", "Describes all commands"),
        When::Now,
        describe::command,
    ),
    command(
        ("info", -1, &["loading", "stale"]),
        ("server", "1.0.0", "Tells the state of the server, in sections"),
        When::Settled,
        |session, args| Ok(Answer::Reply(Reply::Text(info::report(&session.shared, &args[1..]).into()))),
    ),
    command(("config", -2, &[]), ("server", "2.0.0", "Shows and changes settings"), When::Settled, config),
    command(
        ("function", -2, &[]),
        ("scripting", "7.0.0", "Manages functions, of which there are none"),
        When::Now,
        function,
    ),
    command(("time", 1, &["loading", "stale", "fast"]), ("server", "2.6.0", "Tells the time"), When::Now, time),
    command(("wait", 3, &["noscript"]), ("generic", "3.0.0", "Waits for replicas"), When::Settled, wait),
    command(
        ("lastsave", 1, &["loading", "stale", "fast"]),
        ("server", "1.0.0", "Tells when the last snapshot was published"),
        When::Settled,
        |session, _| Ok(Answer::Reply(Reply::count(session.shared.db.last_save_unix_s()))),
    ),
    command(("bgsave", -1, ADMIN), ("server", "1.0.0", "Starts a snapshot to the archive"), When::Settled, bgsave),
    command(
        ("save", 1, &["admin", "noscript", "no_async_loading", "no_multi"]),
        ("server", "1.0.0", "Makes a snapshot, and answers when it is in the archive"),
        When::Settled,
        |_, _| Ok(Answer::Later(Later::Save)),
    ),
    command(
        ("role", 1, &["noscript", "loading", "stale", "fast"]),
        ("server", "2.8.12", "Tells the role in replication"),
        When::Settled,
        role,
    ),
    command(("lolwut", -1, &["readonly", "fast"]), ("server", "5.0.0", "Tells the version"), When::Now, lolwut),
    command(
        ("red.lsn", 1, &["fast", "no_multi"]),
        (
            "server",
            "RedDB 0.1.0",
            "Gives timeline, LSN and chain of this connection's last commit, or of the newest durable one",
        ),
        When::Settled,
        lsn,
    ),
    command(
        ("red.digest", 1, &["readonly", "no_multi"]),
        ("server", "RedDB 0.1.0", "Gives an LSN and the SHA-256 of the whole logical state at it"),
        When::Settled,
        |_, _| Ok(Answer::Later(Later::Digest)),
    ),
];

fn config(session: &mut Session, args: &Args) -> SessionResult {
    const HELP: &[&str] = &[
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern> [<pattern> ...]",
        "    The settings that match a pattern, with their values.",
        "SET <setting> <value> [<setting> <value> ...]",
        "    Change settings, all or none.",
        "RESETSTAT",
        "    Set the statistics of INFO back to zero.",
        "REWRITE",
        "    Always an error: settings are not written back.",
        "HELP",
        "    Print this help.",
    ];
    let (settings, rest) = (&session.shared.settings, &args[2..]);
    let reply = match args[1].to_ascii_lowercase().as_slice() {
        b"help" => help_lines(HELP),
        b"get" => {
            let pairs = settings.matching(rest).into_iter();
            Reply::Map(pairs.map(|(name, value)| (Reply::Bulk(name), Reply::Bulk(value))).collect())
        }
        b"set" => {
            settings.set(rest)?;
            Reply::Ok
        }
        b"resetstat" => {
            session.shared.stats.reset();
            Reply::Ok
        }
        b"rewrite" => return Err(CommandError::fixed("ERR The server is running without a config file")),
        other => return Err(unknown_subcommand("config", other)),
    };
    Ok(Answer::Reply(reply))
}

fn function(_: &mut Session, args: &Args) -> SessionResult {
    const HELP: &[&str] = &[
        "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "FLUSH [ASYNC|SYNC]",
        "    Delete all functions: there are none.",
        "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
        "    All functions: none.",
        "STATS",
        "    The function that runs, and the engines: none.",
        "HELP",
        "    Print this help.",
    ];
    let rest = &args[2..];
    let reply = match args[1].to_ascii_lowercase().as_slice() {
        b"help" => help_lines(HELP),
        b"flush" => match rest {
            [] => Reply::Ok,
            [how] if parse::is_option(how, "ASYNC") || parse::is_option(how, "SYNC") => Reply::Ok,
            _ => return Err(CommandError::fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
        },
        b"list" => list_functions(rest)?,
        b"stats" => Reply::Map(vec![
            (Reply::text("running_script"), Reply::Null),
            (Reply::text("engines"), Reply::Map(Vec::new())),
        ]),
        other => return Err(unknown_subcommand("function", other)),
    };
    Ok(Answer::Reply(reply))
}

fn list_functions(mut options: &[Bytes]) -> Result<Reply, CommandError> {
    loop {
        options = match options {
            [] => return Ok(Reply::Array(Vec::new())),
            [option, rest @ ..] if parse::is_option(option, "WITHCODE") => rest,
            [option, _, rest @ ..] if parse::is_option(option, "LIBRARYNAME") => rest,
            [option] if parse::is_option(option, "LIBRARYNAME") => {
                return Err(CommandError::fixed("ERR library name argument was not given"));
            }
            [option, ..] => {
                return Err(CommandError::quoting("ERR Unknown argument ", option, ""));
            }
        };
    }
}

fn time(_: &mut Session, _: &Args) -> SessionResult {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = |number: u64| Reply::text(&number.to_string());
    Ok(Answer::Reply(Reply::Array(vec![text(now.as_secs()), text(now.subsec_micros().into())])))
}

fn wait(_: &mut Session, args: &Args) -> SessionResult {
    let replicas = parse::integer_argument(&args[1])?;
    let timeout_ms = timeout_argument(&args[2])?;
    if replicas <= 0 {
        return Ok(Answer::Reply(Reply::Int(0)));
    }
    Ok(Answer::Later(Later::Replicas((timeout_ms > 0).then(|| Duration::from_millis(timeout_ms)))))
}

fn bgsave(session: &mut Session, args: &Args) -> SessionResult {
    match &args[1..] {
        [] => {}
        [option] if parse::is_option(option, "SCHEDULE") => {}
        _ => return Err(CommandError::SYNTAX),
    }
    let status = session.shared.db.status();
    if status.archive.snapshot_running {
        return Err(CommandError::fixed("ERR Background save already in progress"));
    }
    let db = session.shared.db.clone();
    tokio::spawn(async move {
        if let Err(error) = db.backup("bgsave").await {
            tracing::warn!(%error, "the snapshot that BGSAVE asked for failed");
        }
    });
    Ok(Answer::Reply(Reply::Simple("Background saving started".into())))
}

fn role(session: &mut Session, _: &Args) -> SessionResult {
    let lsn = session.shared.db.receipt().lsn.get();
    Ok(Answer::Reply(Reply::Array(vec![Reply::text("master"), Reply::count(lsn), Reply::Array(Vec::new())])))
}

fn lolwut(_: &mut Session, args: &Args) -> SessionResult {
    if let [_, option, version, ..] = args
        && parse::is_option(option, "VERSION")
    {
        parse::integer_argument(version)?;
    }
    let text = format!("RedDB ver. {}\n", env!("CARGO_PKG_VERSION"));
    Ok(Answer::Reply(Reply::Text(text.into())))
}

fn lsn(session: &mut Session, _: &Args) -> SessionResult {
    let receipt = session.receipt().unwrap_or_else(|| session.shared.db.receipt());
    Ok(Answer::Reply(Reply::Array(vec![
        Reply::count(receipt.timeline.get().into()),
        Reply::count(receipt.lsn.get()),
        Reply::text(&receipt.chain.to_string()),
    ])))
}
