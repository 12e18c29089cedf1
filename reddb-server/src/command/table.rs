//! The table of all commands, and how a command is found in it and checked before anything is done.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use bytes::Bytes;

use super::subcommands::{SUBCOMMANDS, SubcommandSpec};
use super::{Args, CommandSpec, DATA_COMMANDS, connection, server, transactions};
use crate::reply::{CommandError, until_zero};
use crate::session::{Answer, Session};

/// When a session command may run, among the commands of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// At once: it neither looks at the data nor changes how earlier answers are written.
    Now,
    /// When everything before it is durable and answered.
    Settled,
}

/// A function that carries out a session command.
pub(crate) type SessionFn = fn(&mut Session, &Args) -> Result<Answer, CommandError>;

/// A command that the session carries out.
#[derive(Debug)]
pub(crate) struct SessionCommand {
    /// Its table entry.
    pub spec: CommandSpec,
    /// When it may run.
    pub when: When,
    /// What it does.
    pub run: SessionFn,
}

/// A command of the table.
pub(crate) struct TableEntry {
    /// What it is.
    pub spec: &'static CommandSpec,
    /// What the session does, where it carries the command out.
    pub session: Option<(When, SessionFn)>,
    /// Its subcommands.
    pub subcommands: Vec<(&'static SubcommandSpec, usize)>,
    /// Where it is counted.
    pub counter: usize,
    /// Whether it may run before authentication.
    pub no_auth: bool,
    /// Whether it may not be queued.
    pub no_multi: bool,
    /// Whether it is carried out even where a `MULTI` is open.
    pub through_multi: bool,
}

impl fmt::Debug for TableEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableEntry").field(&self.spec.name).finish()
    }
}

/// A command that was found, with arguments that fit it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolved {
    /// The command.
    pub entry: &'static TableEntry,
    /// Where it, or its subcommand, is counted.
    pub counter: usize,
}

/// A command that was not found, or whose arguments do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// The answer.
    pub error: CommandError,
    /// Where it is counted, if there is such a command.
    pub counter: Option<usize>,
}

struct Table {
    entries: Vec<TableEntry>,
    by_name: HashMap<&'static str, usize>,
    counter_names: Vec<String>,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

const SESSION: &[&[SessionCommand]] = &[connection::COMMANDS, server::COMMANDS, transactions::COMMANDS];

impl Table {
    fn new() -> Self {
        let data = DATA_COMMANDS.iter().copied().flatten().map(|spec| (spec, None));
        let session = SESSION.iter().copied().flatten();
        let session = session.map(|command| (&command.spec, Some((command.when, command.run))));
        let mut table = Self { entries: Vec::new(), by_name: HashMap::new(), counter_names: Vec::new() };
        for (spec, session) in data.chain(session) {
            let has = |flag: &str| spec.flags.contains(&flag);
            table.by_name.insert(spec.name, table.entries.len());
            table.entries.push(TableEntry {
                spec,
                session,
                subcommands: Vec::new(),
                counter: table.counter_names.len(),
                no_auth: has("no_auth"),
                no_multi: has("no_multi"),
                through_multi: matches!(spec.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset"),
            });
            table.counter_names.push(spec.name.to_owned());
        }
        for subcommand in SUBCOMMANDS {
            if let Some(index) = table.by_name.get(subcommand.container) {
                table.entries[*index].subcommands.push((subcommand, table.counter_names.len()));
                table.counter_names.push(format!("{}|{}", subcommand.container, subcommand.name));
            }
        }
        table
    }
}

/// All commands.
#[must_use]
pub(crate) fn entries() -> &'static [TableEntry] {
    &TABLE.entries
}

/// How many commands and subcommands are counted apart.
#[must_use]
pub(crate) fn counter_count() -> usize {
    TABLE.counter_names.len()
}

/// The command, or `command|subcommand`, that a counter belongs to.
#[must_use]
pub(crate) fn counter_name(counter: usize) -> Option<&'static str> {
    TABLE.counter_names.get(counter).map(String::as_str)
}

/// The longest name that is looked up; longer ones do not exist.
const NAME_BYTES_MAX: usize = 32;

/// The command of this name, in any case.
#[must_use]
pub(crate) fn find(name: &[u8]) -> Option<&'static TableEntry> {
    let mut lower = [0u8; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let index = TABLE.by_name.get(std::str::from_utf8(lower).ok()?)?;
    TABLE.entries.get(*index)
}

impl TableEntry {
    /// The subcommand of this name, in any case, and where it is counted.
    #[must_use]
    pub(crate) fn subcommand(&self, name: &[u8]) -> Option<(&'static SubcommandSpec, usize)> {
        self.subcommands.iter().find(|(subcommand, _)| name.eq_ignore_ascii_case(subcommand.name.as_bytes())).copied()
    }
}

/// Finds the command and checks the number of its arguments, and those of its subcommand.
///
/// # Errors
/// `ERR unknown command …`, `ERR unknown subcommand …`, `ERR wrong number of arguments …`.
pub(crate) fn resolve(args: &[Bytes]) -> Result<Resolved, Rejected> {
    resolve_likely(args, None)
}

/// As [`resolve`], where it probably is `likely`: a comparison finds that out faster than a look at the table.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn resolve_likely(args: &[Bytes], likely: Option<&'static TableEntry>) -> Result<Resolved, Rejected> {
    let name = args.first().map(|name| &name[..]).unwrap_or_default();
    let likely = likely.filter(|entry| name.eq_ignore_ascii_case(entry.spec.name.as_bytes()));
    let Some(entry) = likely.or_else(|| find(name)) else {
        return Err(Rejected { error: unknown_command(args), counter: None });
    };
    let arity = |name: &str, counter| Rejected { error: CommandError::wrong_arity(name), counter: Some(counter) };
    if args.len() > 1 && !entry.subcommands.is_empty() {
        let Some((subcommand, counter)) = entry.subcommand(&args[1]) else {
            return Err(Rejected { error: unknown_subcommand(entry.spec.name, &args[1]), counter: None });
        };
        if !accepts(subcommand.arity, args.len()) {
            return Err(arity(&format!("{}|{}", subcommand.container, subcommand.name), counter));
        }
        return Ok(Resolved { entry, counter });
    }
    if !entry.spec.accepts(args.len()) {
        return Err(arity(entry.spec.name, entry.counter));
    }
    Ok(Resolved { entry, counter: entry.counter })
}

/// Whether a number of arguments, the container's name included, fits.
pub(super) fn accepts(arity: i32, args: usize) -> bool {
    let Ok(args) = i32::try_from(args) else { return false };
    if arity >= 0 { args == arity } else { args >= -arity }
}

/// Bytes that an error quotes, at most.
const QUOTED_BYTES_MAX: usize = 128;

/// What an error quotes of the bytes: no more than `bytes_max`, and none from the first zero on.
fn quoted(bytes: &[u8], bytes_max: usize) -> &[u8] {
    until_zero(&bytes[..bytes.len().min(bytes_max)])
}

fn unknown_command(args: &[Bytes]) -> CommandError {
    let name = args.first().map(|name| quoted(name, QUOTED_BYTES_MAX)).unwrap_or_default();
    let mut line = [&b"ERR unknown command '"[..], name, b"', with args beginning with: "].concat();
    let beginning = line.len();
    for arg in args.iter().skip(1) {
        let Some(left) = QUOTED_BYTES_MAX.checked_sub(line.len() - beginning).filter(|left| *left > 0) else { break };
        line.extend([b"'", quoted(arg, left), b"' "].concat());
    }
    CommandError::of_bytes(line)
}

/// The error for a subcommand that does not exist.
pub(super) fn unknown_subcommand(container: &str, subcommand: &[u8]) -> CommandError {
    let after = format!("'. Try {} HELP.", container.to_ascii_uppercase());
    CommandError::quoting("ERR unknown subcommand '", quoted(subcommand, QUOTED_BYTES_MAX), &after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Vec<Bytes> {
        words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
    }

    fn error(words: &[&str]) -> String {
        resolve(&args(words)).expect_err("refused").error.text().into_owned()
    }

    #[test]
    fn each_name_is_there_once_and_in_lower_case() {
        let mut names: Vec<&str> = entries().iter().map(|entry| entry.spec.name).collect();
        assert!(names.iter().all(|name| name.to_ascii_lowercase() == *name && name.len() <= NAME_BYTES_MAX));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for subcommand in SUBCOMMANDS {
            assert!(find(subcommand.container.as_bytes()).is_some(), "{}", subcommand.container);
        }
    }

    #[test]
    fn what_is_likely_makes_no_difference() {
        let commands = [&["get", "k"][..], &["GET", "k"], &["get"], &["getdel", "k"], &["set", "k", "v"], &["foo"]];
        for words in commands {
            for likely in ["get", "set", "ping"] {
                let found = resolve_likely(&args(words), find(likely.as_bytes()));
                let (found, expected) = (found.map(|it| it.counter), resolve(&args(words)).map(|it| it.counter));
                assert_eq!(found, expected, "{words:?}, likely {likely}");
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(find(b"PiNg").map(|entry| entry.spec.name), Some("ping"));
        assert!(find(b"").is_none());
        assert!(find(&[b'a'; 100]).is_none());
        assert!(find(b"ping\xff").is_none());
    }

    #[test]
    fn refusals_are_in_redis_words() {
        assert_eq!(error(&["foo"]), "ERR unknown command 'foo', with args beginning with: ");
        assert_eq!(error(&["foo", "a\r\nb", "c"]), "ERR unknown command 'foo', with args beginning with: 'a  b' 'c' ");
        assert_eq!(
            error(&["foo", &"a".repeat(200), "b"]),
            format!("ERR unknown command 'foo', with args beginning with: '{}' ", "a".repeat(128))
        );
        assert_eq!(error(&["foo\0bar", "x\0y"]), "ERR unknown command 'foo', with args beginning with: 'x' ");
        assert_eq!(
            resolve(&[Bytes::from_static(b"\xff\n"), Bytes::from(vec![0xc3; 200])]).expect_err("refused").error.line(),
            [&b"ERR unknown command '\xff ', with args beginning with: '"[..], &[0xc3; 128], b"' "].concat()
        );
        assert_eq!(error(&["client"]), "ERR wrong number of arguments for 'client' command");
        assert_eq!(error(&["CLIENT", "getname", "x"]), "ERR wrong number of arguments for 'client|getname' command");
        assert_eq!(error(&["client", "foo"]), "ERR unknown subcommand 'foo'. Try CLIENT HELP.");
    }

    #[test]
    fn an_error_quotes_bytes_as_they_are_in_one_line_up_to_a_zero() {
        let quoted = |bytes: &[u8]| CommandError::quoting("ERR '", bytes, "'").line().to_vec();
        assert_eq!(quoted(b"\xff\xc3"), b"ERR '\xff\xc3'");
        assert_eq!(quoted(b"a\r\nb"), b"ERR 'a  b'");
        assert_eq!(quoted(b"a\0b"), b"ERR 'a'");
        assert_eq!(CommandError::quoting("ERR ", b"\xff", "").text(), "ERR \u{fffd}");
    }
}
