//! PING, ECHO, HELLO, AUTH, SELECT, QUIT and RESET; `CLIENT` is in `client`.

use bytes::Bytes;

use super::table::{SessionCommand, When};
use super::{Args, CommandSpec, KeyPositions, Run, client, parse};
use crate::reply::{CommandError, Reply};
use crate::resp::Protocol;
use crate::session::{Answer, Session};

pub(super) const REDIS_VERSION: &str = "7.0.15";

pub(super) type SessionResult = Result<Answer, CommandError>;

const BEFORE_AUTH: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];

/// A session command without keys.
pub(super) const fn command(
    (name, arity, flags): (&'static str, i32, &'static [&'static str]),
    (group, since, summary): (&'static str, &'static str, &'static str),
    when: When,
    run: super::table::SessionFn,
) -> SessionCommand {
    let keys = KeyPositions::NONE;
    SessionCommand {
        spec: CommandSpec { name, arity, flags, keys, group, since, summary, heavy: false, run: Run::Session },
        when,
        run,
    }
}

/// The commands of this file, and `CLIENT`.
pub(crate) const COMMANDS: &[SessionCommand] = &[
    command(("ping", -1, &["fast"]), ("connection", "1.0.0", "Answers PONG, or the argument"), When::Now, ping),
    command(
        ("echo", 2, &["loading", "stale", "fast"]),
        ("connection", "1.0.0", "Answers the argument"),
        When::Now,
        |_, args| Ok(Answer::Reply(Reply::Bulk(args[1].clone()))),
    ),
    command(
        ("hello", -1, BEFORE_AUTH),
        ("connection", "6.0.0", "Changes the protocol version, authenticates and names the connection"),
        When::Settled,
        hello,
    ),
    command(("auth", -2, BEFORE_AUTH), ("connection", "1.0.0", "Authenticates the connection"), When::Now, auth),
    command(
        ("select", 2, &["loading", "stale", "fast"]),
        ("connection", "1.0.0", "Selects the connection's database"),
        When::Now,
        select,
    ),
    command(("quit", -1, BEFORE_AUTH), ("connection", "1.0.0", "Closes the connection"), When::Settled, |_, _| {
        Ok(Answer::Close(Reply::Ok))
    }),
    command(
        ("reset", 1, BEFORE_AUTH),
        ("connection", "6.2.0", "Sets the connection back to how it began"),
        When::Settled,
        |session, _| {
            session.reset();
            Ok(Answer::Reply(Reply::Simple("RESET".into())))
        },
    ),
    command(
        ("client", -2, &[]),
        ("connection", "2.4.0", "Shows and controls connections"),
        When::Settled,
        client::client,
    ),
];

fn ping(_: &mut Session, args: &Args) -> SessionResult {
    match args {
        [_] => Ok(Answer::Reply(Reply::Simple("PONG".into()))),
        [_, text] => Ok(Answer::Reply(Reply::Bulk(text.clone()))),
        _ => Err(CommandError::wrong_arity("ping")),
    }
}

fn select(session: &mut Session, args: &Args) -> SessionResult {
    session.select(parse::database_argument(&args[1])?);
    Ok(Answer::Reply(Reply::Ok))
}

fn auth(session: &mut Session, args: &Args) -> SessionResult {
    match args {
        [_, password] => {
            if !session.shared.settings.is_guarded() {
                return Err(CommandError::fixed(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                     your configuration is correct?",
                ));
            }
            session.authenticate(b"default", password)?;
        }
        [_, user, password] => session.authenticate(user, password)?,
        _ => return Err(CommandError::SYNTAX),
    }
    Ok(Answer::Reply(Reply::Ok))
}

fn hello(session: &mut Session, args: &Args) -> SessionResult {
    let protocol = match args.get(1) {
        None => None,
        Some(version) => match parse::integer(version) {
            None => {
                return Err(CommandError::fixed("ERR Protocol version is not an integer or out of range"));
            }
            Some(2) => Some(Protocol::Resp2),
            Some(3) => Some(Protocol::Resp3),
            Some(_) => return Err(CommandError::fixed("NOPROTO unsupported protocol version")),
        },
    };
    let (mut login, mut name) = (None, None);
    let mut options = args.get(2..).unwrap_or_default();
    while let Some((option, rest)) = options.split_first() {
        options = match rest {
            [user, password, rest @ ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                login = Some((user, password));
                rest
            }
            [given, rest @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                name = Some(client::checked_name(given)?);
                rest
            }
            _ => {
                return Err(CommandError::quoting("ERR Syntax error in HELLO option '", option, "'"));
            }
        };
    }
    if let Some((user, password)) = login {
        session.authenticate(user, password)?;
    }
    if session.needs_authentication() {
        return Err(CommandError::fixed(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        session.client.names.lock().name = name;
    }
    if let Some(protocol) = protocol {
        session.speak(protocol);
    }
    let text = |text: &'static str| Reply::Bulk(Bytes::from_static(text.as_bytes()));
    Ok(Answer::Reply(Reply::Map(vec![
        (text("server"), text("redis")),
        (text("version"), text(REDIS_VERSION)),
        (text("proto"), Reply::Int(session.protocol().number())),
        (text("id"), Reply::count(session.client.id)),
        (text("mode"), text("standalone")),
        (text("role"), text("master")),
        (text("modules"), Reply::Array(Vec::new())),
    ])))
}
