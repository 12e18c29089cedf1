//! MULTI, EXEC, DISCARD, WATCH and UNWATCH.
//!
//! `EXEC` itself is the connection's: it turns what was queued into one job.

use bytes::Bytes;

use super::connection::{SessionResult, command};
use super::table::{SessionCommand, When};
use super::{Args, CommandSpec, KeyPositions};
use crate::commit::Step;
use crate::reply::{CommandError, Reply};
use crate::session::{Answer, Session};

const FAST: &[&str] = &["noscript", "loading", "stale", "fast", "allow_busy"];

const WATCH: SessionCommand = command(
    ("watch", -2, FAST),
    ("transactions", "2.2.0", "Lets EXEC fail when a key changes before it"),
    When::Now,
    watch,
);

/// The commands of this file.
pub(crate) const COMMANDS: &[SessionCommand] = &[
    command(("multi", 1, FAST), ("transactions", "1.2.0", "Begins a transaction"), When::Now, multi),
    command(
        ("exec", 1, &["noscript", "loading", "stale", "skip_slowlog"]),
        ("transactions", "1.2.0", "Carries out a transaction, as a whole or not at all"),
        When::Now,
        |_, _| Err(CommandError::fixed("ERR EXEC without MULTI")),
    ),
    command(("discard", 1, FAST), ("transactions", "2.0.0", "Forgets a transaction"), When::Now, discard),
    SessionCommand { spec: CommandSpec { keys: KeyPositions::ALL, ..WATCH.spec }, ..WATCH },
    command(("unwatch", 1, FAST), ("transactions", "2.2.0", "Ends the watch"), When::Now, |session, _| {
        session.unwatch();
        Ok(Answer::Reply(Reply::Ok))
    }),
];

fn multi(session: &mut Session, _: &Args) -> SessionResult {
    if session.in_multi() {
        return Err(CommandError::fixed("ERR MULTI calls can not be nested"));
    }
    session.begin_multi();
    Ok(Answer::Reply(Reply::Ok))
}

fn discard(session: &mut Session, _: &Args) -> SessionResult {
    if !session.in_multi() {
        return Err(CommandError::fixed("ERR DISCARD without MULTI"));
    }
    session.discard_multi();
    Ok(Answer::Reply(Reply::Ok))
}

fn watch(session: &mut Session, args: &Args) -> SessionResult {
    if session.in_multi() {
        return Err(CommandError::fixed("ERR WATCH inside MULTI is not allowed"));
    }
    // The names are kept for as long as the watch: they must not hold on to what was received with them.
    let watcher = session.watch(&args[1..])?;
    let db = session.db();
    let keys = args[1..].iter().map(|key| (db, Bytes::copy_from_slice(key))).collect();
    Ok(Answer::Submit(Step::Watch { watcher, keys }))
}
