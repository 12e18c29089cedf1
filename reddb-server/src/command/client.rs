//! `CLIENT`: what connections tell of themselves and each other.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;

use super::connection::SessionResult;
use super::{Args, help_lines, parse};
use crate::reply::{CommandError, Reply};
use crate::session::{Answer, Client, PauseScope, Session};

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CACHING (YES|NO)",
    "    Nothing is tracked: always an error.",
    "GETNAME",
    "    The name of this connection.",
    "GETREDIR",
    "    Nothing is tracked: always -1.",
    "ID",
    "    The number of this connection.",
    "INFO",
    "    A line about this connection.",
    "KILL <ip:port>",
    "    End the connection from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    End connections that fit all of: ID <id>, ADDR <ip:port>, LADDR <ip:port>, TYPE <type>, USER <name>;",
    "    this one only with SKIPME NO.",
    "LIST [TYPE <type> | ID <id> [<id> ...]]",
    "    A line about each connection.",
    "NO-EVICT (ON|OFF)",
    "    Accepted: connections are never evicted.",
    "NO-TOUCH (ON|OFF)",
    "    Accepted: reads never change a key.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Let all commands, or those that write, wait for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Which commands are answered.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Name this connection's client library.",
    "SETNAME <name>",
    "    Name this connection.",
    "TRACKING (ON|OFF) ...",
    "    Only OFF: there are no invalidation messages.",
    "TRACKINGINFO",
    "    Nothing is tracked: off.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    No command blocks: always 0.",
    "UNPAUSE",
    "    End the pause.",
    "HELP",
    "    Print this help.",
];

pub(super) fn client(session: &mut Session, args: &Args) -> SessionResult {
    let (subcommand, rest) = (args[1].to_ascii_lowercase(), &args[2..]);
    let reply = match subcommand.as_slice() {
        b"help" => help_lines(HELP),
        b"id" => Reply::count(session.client.id),
        b"getname" => {
            let name = session.client.names.lock().name.clone();
            if name.is_empty() { Reply::Null } else { Reply::text(&name) }
        }
        b"setname" => {
            session.client.names.lock().name = checked_name(&rest[0])?;
            Reply::Ok
        }
        b"setinfo" => set_info(session, rest)?,
        b"info" => Reply::Text(format!("{}\n", session.client.line()).into()),
        b"list" => list(session, rest)?,
        b"kill" => return kill(session, rest),
        b"reply" => return reply_mode(session, rest),
        b"pause" => pause(session, rest)?,
        b"unpause" => {
            session.shared.pause.end();
            Reply::Ok
        }
        b"no-evict" => {
            session.client.no_evict.store(on_or_off(&rest[0])?, Relaxed);
            Reply::Ok
        }
        b"no-touch" => {
            on_or_off(&rest[0])?;
            Reply::Ok
        }
        b"tracking" => {
            if on_or_off(&rest[0])? {
                return Err(CommandError::fixed("ERR client tracking is not supported"));
            }
            Reply::Ok
        }
        b"caching" => {
            return Err(CommandError::fixed(
                "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
                 enabled",
            ));
        }
        b"getredir" => Reply::Int(-1),
        b"trackinginfo" => Reply::Map(vec![
            (Reply::text("flags"), Reply::Set(vec![Reply::text("off")])),
            (Reply::text("redirect"), Reply::Int(-1)),
            (Reply::text("prefixes"), Reply::Array(Vec::new())),
        ]),
        b"unblock" => {
            parse::integer_argument(&rest[0])?;
            match rest.get(1) {
                Some(how) if !["TIMEOUT", "ERROR"].iter().any(|word| parse::is_option(how, word)) => {
                    return Err(CommandError::fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
                }
                _ => Reply::Int(0),
            }
        }
        other => return Err(super::table::unknown_subcommand("client", other)),
    };
    Ok(Answer::Reply(reply))
}

/// A name without spaces and control characters.
pub(super) fn checked_name(name: &Bytes) -> Result<String, CommandError> {
    plain_text(name)
        .ok_or(CommandError::fixed("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn plain_text(text: &Bytes) -> Option<String> {
    let plain = text.iter().all(|byte| byte.is_ascii_graphic());
    plain.then(|| String::from_utf8_lossy(text).into_owned())
}

fn set_info(session: &Session, args: &[Bytes]) -> Result<Reply, CommandError> {
    let attribute = &args[0];
    let is = |name: &str| parse::is_option(attribute, name);
    if !is("LIB-NAME") && !is("LIB-VER") {
        return Err(CommandError::quoting("ERR Unrecognized option '", attribute, "'"));
    }
    let Some(value) = plain_text(&args[1]) else {
        return Err(CommandError::new(format!(
            "ERR {} cannot contain spaces, newlines or special characters.",
            String::from_utf8_lossy(attribute).to_ascii_lowercase()
        )));
    };
    let mut names = session.client.names.lock();
    if is("LIB-NAME") {
        names.library = value;
    } else {
        names.library_version = value;
    }
    Ok(Reply::Ok)
}

/// Whether clients of this type exist here.
fn client_type(name: &Bytes) -> Result<bool, CommandError> {
    let is = |word: &&str| parse::is_option(name, word);
    if is(&"NORMAL") {
        return Ok(true);
    }
    if ["MASTER", "REPLICA", "SLAVE", "PUBSUB"].iter().any(is) {
        return Ok(false);
    }
    Err(CommandError::quoting("ERR Unknown client type '", name, "'"))
}

fn list(session: &Session, args: &[Bytes]) -> Result<Reply, CommandError> {
    let clients = session.shared.clients.list();
    let chosen: Vec<Arc<Client>> = match args {
        [] => clients,
        [option, kind] if parse::is_option(option, "TYPE") => {
            if client_type(kind)? {
                clients
            } else {
                Vec::new()
            }
        }
        [option, ids @ ..] if parse::is_option(option, "ID") && !ids.is_empty() => {
            let invalid = CommandError::fixed("ERR Invalid client ID");
            let ids: Option<Vec<u64>> = ids.iter().map(|id| u64::try_from(parse::integer(id)?).ok()).collect();
            let ids = ids.ok_or(invalid)?;
            ids.iter().filter_map(|id| clients.iter().find(|client| client.id == *id).cloned()).collect()
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let mut lines = String::new();
    for client in chosen {
        lines.push_str(&client.line());
        lines.push('\n');
    }
    Ok(Reply::Text(lines.into()))
}

/// Which connections are to be ended.
#[derive(Debug)]
struct KillFilter {
    id: Option<u64>,
    peer: Option<Bytes>,
    local: Option<Bytes>,
    kind_exists: bool,
    spare_self: bool,
}

impl KillFilter {
    fn parse(args: &[Bytes]) -> Result<Self, CommandError> {
        let mut filter = Self { id: None, peer: None, local: None, kind_exists: true, spare_self: true };
        if !args.len().is_multiple_of(2) {
            return Err(CommandError::SYNTAX);
        }
        for [option, value] in args.as_chunks().0 {
            let is = |name: &str| parse::is_option(option, name);
            if is("ID") {
                let id = parse::integer(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
                filter.id = Some(id.ok_or(CommandError::fixed("ERR client-id should be greater than 0"))?);
            } else if is("TYPE") {
                filter.kind_exists = client_type(value)?;
            } else if is("ADDR") {
                filter.peer = Some(value.clone());
            } else if is("LADDR") {
                filter.local = Some(value.clone());
            } else if is("USER") {
                if value != "default" {
                    return Err(CommandError::quoting("ERR No such user '", value, "'"));
                }
            } else if is("SKIPME") {
                filter.spare_self = match value.to_ascii_lowercase().as_slice() {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(CommandError::SYNTAX),
                };
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(filter)
    }

    fn fits(&self, client: &Client) -> bool {
        let is = |wanted: &Option<Bytes>, address: std::net::SocketAddr| {
            wanted.as_ref().is_none_or(|wanted| *wanted == address.to_string())
        };
        self.kind_exists
            && self.id.is_none_or(|id| id == client.id)
            && is(&self.peer, client.peer)
            && is(&self.local, client.local)
    }
}

fn kill(session: &Session, args: &[Bytes]) -> SessionResult {
    let (filter, old_form) = match args {
        [address] => {
            let peer = Some(address.clone());
            (KillFilter { id: None, peer, local: None, kind_exists: true, spare_self: false }, true)
        }
        options => (KillFilter::parse(options)?, false),
    };
    let (mut killed, mut own) = (0u64, false);
    for client in session.shared.clients.list() {
        if !filter.fits(&client) {
            continue;
        }
        if client.id == session.client.id {
            if filter.spare_self {
                continue;
            }
            own = true;
        } else if !client.kill() {
            continue;
        }
        killed += 1;
    }
    let reply = match (old_form, killed) {
        (true, 0) => return Err(CommandError::fixed("ERR No such client")),
        (true, _) => Reply::Ok,
        (false, killed) => Reply::count(killed),
    };
    Ok(if own { Answer::Close(reply) } else { Answer::Reply(reply) })
}

fn reply_mode(session: &mut Session, args: &[Bytes]) -> SessionResult {
    match args[0].to_ascii_lowercase().as_slice() {
        b"on" => {
            session.reply_on();
            Ok(Answer::Reply(Reply::Ok))
        }
        b"off" => {
            session.reply_off();
            Ok(Answer::Reply(Reply::None))
        }
        b"skip" => {
            session.skip_next_reply();
            Ok(Answer::Reply(Reply::None))
        }
        _ => Err(CommandError::SYNTAX),
    }
}

fn pause(session: &Session, args: &[Bytes]) -> Result<Reply, CommandError> {
    let scope = match args {
        [_] => PauseScope::All,
        [_, mode] if parse::is_option(mode, "ALL") => PauseScope::All,
        [_, mode] if parse::is_option(mode, "WRITE") => PauseScope::Writes,
        [_, _] => return Err(CommandError::fixed("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => {
            return Err(CommandError::fixed(
                "ERR unknown subcommand or wrong number of arguments for 'pause'. Try CLIENT HELP.",
            ));
        }
    };
    session.shared.pause.begin(scope, Duration::from_millis(timeout_argument(&args[0])?));
    Ok(Reply::Ok)
}

/// A time to wait, in milliseconds.
pub(super) fn timeout_argument(text: &[u8]) -> Result<u64, CommandError> {
    let timeout = parse::integer(text).ok_or(CommandError::fixed("ERR timeout is not an integer or out of range"))?;
    u64::try_from(timeout).map_err(|_| CommandError::fixed("ERR timeout is negative"))
}

fn on_or_off(word: &Bytes) -> Result<bool, CommandError> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(CommandError::SYNTAX),
    }
}
