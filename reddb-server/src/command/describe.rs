//! `COMMAND`: what the table tells of its commands.

use bytes::Bytes;

use super::connection::SessionResult;
use super::subcommands::SubcommandSpec;
use super::table::{self, TableEntry, find};
use super::{Args, KeyPositions, glob, help_lines, parse, usage};
use crate::reply::{CommandError, Reply};
use crate::session::{Answer, Session};

const HELP: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Details about all commands.",
    "COUNT",
    "    How many commands there are.",
    "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
    "    The names of all commands.",
    "INFO [<command-name> ...]",
    "    Details about commands, or about all of them.",
    "DOCS [<command-name> ...]",
    "    Documentation of commands, or of all of them.",
    "GETKEYS <full-command>",
    "    The keys of a full command.",
    "GETKEYSANDFLAGS <full-command>",
    "    The keys of a full command, and what it does with them.",
    "HELP",
    "    Print this help.",
];

pub(super) fn command(_: &mut Session, args: &Args) -> SessionResult {
    let Some(subcommand) = args.get(1) else {
        return Ok(Answer::Reply(Reply::Array(table::entries().iter().map(details).collect())));
    };
    let rest = &args[2..];
    let reply = match subcommand.to_ascii_lowercase().as_slice() {
        b"help" => help_lines(HELP),
        b"count" => Reply::count(u64::try_from(table::entries().len()).unwrap_or(u64::MAX)),
        b"list" => list(rest)?,
        b"info" if rest.is_empty() => Reply::Array(table::entries().iter().map(details).collect()),
        b"info" => {
            Reply::Array(rest.iter().map(|name| Named::find(name).map_or(Reply::Null, Named::details)).collect())
        }
        b"docs" if rest.is_empty() => {
            Reply::Map(table::entries().iter().map(|entry| Named::Command(entry).docs()).collect())
        }
        b"docs" => Reply::Map(rest.iter().filter_map(|name| Named::find(name)).map(Named::docs).collect()),
        b"getkeys" => {
            let keys = keys_of(rest)?;
            Reply::Array(keys.into_iter().map(|(key, _)| Reply::Bulk(key)).collect())
        }
        b"getkeysandflags" => {
            let keys = keys_of(rest)?.into_iter();
            Reply::Array(keys.map(|(key, usage)| Reply::Array(vec![Reply::Bulk(key), words(usage)])).collect())
        }
        other => return Err(table::unknown_subcommand("command", other)),
    };
    Ok(Answer::Reply(reply))
}

/// A command or a subcommand.
#[derive(Clone, Copy)]
enum Named {
    Command(&'static TableEntry),
    Subcommand(&'static TableEntry, &'static SubcommandSpec),
}

impl Named {
    /// What is called `name` or `container|name`.
    fn find(name: &[u8]) -> Option<Self> {
        match memchr::memchr(b'|', name) {
            None => find(name).map(Self::Command),
            Some(at) => {
                let entry = find(&name[..at])?;
                entry.subcommand(&name[at + 1..]).map(|(subcommand, _)| Self::Subcommand(entry, subcommand))
            }
        }
    }

    fn details(self) -> Reply {
        match self {
            Self::Command(entry) => details(entry),
            Self::Subcommand(entry, subcommand) => subcommand_details(entry, subcommand),
        }
    }

    /// The name, and what is documented.
    fn docs(self) -> (Reply, Reply) {
        let (name, summary, since, group) = match self {
            Self::Command(entry) => {
                (entry.spec.name.to_owned(), entry.spec.summary, entry.spec.since, entry.spec.group)
            }
            Self::Subcommand(entry, subcommand) => {
                (full_name(subcommand), subcommand.summary, subcommand.since, entry.spec.group)
            }
        };
        let mut fields = vec![
            (Reply::text("summary"), Reply::text(summary)),
            (Reply::text("since"), Reply::text(since)),
            (Reply::text("group"), Reply::text(group)),
        ];
        let arguments = usage::arguments(&name);
        if !arguments.is_empty() {
            fields.push((Reply::text("arguments"), Reply::Array(arguments)));
        }
        if let Self::Command(entry) = self
            && !entry.subcommands.is_empty()
        {
            let subcommands = entry.subcommands.iter();
            let subcommands = subcommands.map(|(subcommand, _)| Self::Subcommand(entry, subcommand).docs()).collect();
            fields.push((Reply::text("subcommands"), Reply::Map(subcommands)));
        }
        (Reply::text(&name), Reply::Map(fields))
    }
}

fn full_name(subcommand: &SubcommandSpec) -> String {
    format!("{}|{}", subcommand.container, subcommand.name)
}

fn words(words: &[&'static str]) -> Reply {
    Reply::Set(words.iter().map(|word| Reply::Simple((*word).into())).collect())
}

fn details(entry: &TableEntry) -> Reply {
    let spec = entry.spec;
    // What only its subcommands do is told with them.
    let categories = match spec.name {
        "client" | "config" | "function" | "object" => vec!["@slow"],
        _ => categories(spec.name, spec.flags, spec.group),
    };
    Reply::Array(vec![
        Reply::text(spec.name),
        Reply::Int(spec.arity.into()),
        words(spec.flags),
        Reply::Int(spec.keys.first.into()),
        Reply::Int(spec.keys.last.into()),
        Reply::Int(spec.keys.step.into()),
        words(&categories),
        tips(spec.name),
        key_specs(spec.name, spec.flags, spec.keys),
        Reply::Array(entry.subcommands.iter().map(|(subcommand, _)| subcommand_details(entry, subcommand)).collect()),
    ])
}

fn subcommand_details(entry: &TableEntry, subcommand: &SubcommandSpec) -> Reply {
    let name = full_name(subcommand);
    Reply::Array(vec![
        Reply::text(&name),
        Reply::Int(subcommand.arity.into()),
        words(subcommand.flags),
        Reply::Int(subcommand.keys.first.into()),
        Reply::Int(subcommand.keys.last.into()),
        Reply::Int(subcommand.keys.step.into()),
        words(&categories(
            &name,
            subcommand.flags,
            if entry.spec.name == "config" { "server" } else { entry.spec.group },
        )),
        tips(&name),
        key_specs(&name, subcommand.flags, subcommand.keys),
        Reply::Set(Vec::new()),
    ])
}

/// The access control categories that follow from flags and group.
fn categories(name: &str, flags: &[&str], group: &str) -> Vec<&'static str> {
    let has = |flag: &str| flags.contains(&flag);
    let administrative = has("admin") || matches!(name, "lastsave" | "role");
    let dangerous = administrative || matches!(name, "keys" | "flushdb" | "flushall" | "swapdb" | "info");
    let connection = group == "connection" || matches!(name, "wait") || name.starts_with("command");
    let keyspace = match name {
        "wait" => false,
        "dbsize" | "flushdb" | "flushall" | "swapdb" => true,
        _ => group == "generic",
    };
    [
        (keyspace, "@keyspace"),
        (has("readonly"), "@read"),
        (has("write"), "@write"),
        (group == "string", "@string"),
        (group == "hash", "@hash"),
        (administrative, "@admin"),
        (has("fast"), "@fast"),
        (!has("fast"), "@slow"),
        (dangerous, "@dangerous"),
        (connection, "@connection"),
        (group == "transactions", "@transaction"),
        (group == "scripting", "@scripting"),
    ]
    .into_iter()
    .filter_map(|(applies, category)| applies.then_some(category))
    .collect()
}

/// What a client should know beyond the flags.
fn tips(name: &str) -> Reply {
    let tips: &[&str] = match name {
        "randomkey" | "scan" | "ttl" | "pttl" | "time" | "lastsave" | "info" | "client|info" | "client|list"
        | "hrandfield" | "hscan" | "object|encoding" | "object|freq" | "object|idletime" | "object|refcount"
        | "function|stats" => &["nondeterministic_output"],
        "keys" | "hgetall" | "hkeys" | "hvals" | "command" | "command|docs" | "command|info" | "command|list"
        | "function|list" => &["nondeterministic_output_order"],
        _ => &[],
    };
    Reply::Set(tips.iter().map(|tip| Reply::text(tip)).collect())
}

/// What a command does with a key: one entry for all its keys, or one for each.
fn usages(name: &str, flags: &[&str]) -> &'static [&'static [&'static str]] {
    const READ: &[&str] = &["RO", "access"];
    const PEEK: &[&str] = &["RO"];
    match name {
        "strlen" | "exists" | "touch" | "type" | "hexists" | "hlen" | "hstrlen" | "watch" => &[PEEK],
        _ if name.starts_with("object|") => &[PEEK],
        "set" => &[&["RW", "access", "update", "variable_flags"]],
        "getdel" => &[&["RW", "access", "delete"]],
        "mset" | "setex" | "psetex" => &[&["OW", "update"]],
        "msetnx" | "setnx" => &[&["OW", "insert"]],
        "append" | "hsetnx" => &[&["RW", "insert"]],
        "del" | "unlink" => &[&["RM", "delete"]],
        "hdel" => &[&["RW", "delete"]],
        "rename" => &[&["RW", "access", "delete"], &["OW", "update"]],
        "renamenx" => &[&["RW", "access", "delete"], &["OW", "insert"]],
        "copy" => &[READ, &["OW", "update"]],
        "setrange" | "expire" | "pexpire" | "expireat" | "pexpireat" | "persist" | "hset" | "hmset" => {
            &[&["RW", "update"]]
        }
        _ if flags.contains(&"write") => &[&["RW", "access", "update"]],
        _ => &[READ],
    }
}

fn key_specs(name: &str, flags: &[&str], keys: KeyPositions) -> Reply {
    if keys == KeyPositions::NONE {
        return Reply::Set(Vec::new());
    }
    let spec = |first: i32, last: i32, usage: &[&'static str]| {
        let found = |kind: &str, fields: &[(&str, i32)]| {
            let fields = fields.iter().map(|(name, value)| (Reply::text(name), Reply::Int((*value).into()))).collect();
            Reply::Map(vec![(Reply::text("type"), Reply::text(kind)), (Reply::text("spec"), Reply::Map(fields))])
        };
        let last = if last < 0 { last } else { last - first };
        Reply::Map(vec![
            (Reply::text("flags"), words(usage)),
            (Reply::text("begin_search"), found("index", &[("index", first)])),
            (Reply::text("find_keys"), found("range", &[("lastkey", last), ("keystep", keys.step), ("limit", 0)])),
        ])
    };
    match usages(name, flags) {
        [first, second] => Reply::Set(vec![spec(keys.first, keys.first, first), spec(keys.last, keys.last, second)]),
        usages => {
            let usage = usages.first().copied().unwrap_or_default();
            Reply::Set(vec![spec(keys.first, keys.last, usage)])
        }
    }
}

fn list(options: &[Bytes]) -> Result<Reply, CommandError> {
    type Filter<'a> = Box<dyn Fn(&str, &[&str], &str) -> bool + 'a>;
    let filter: Filter<'_> = match options {
        [] => Box::new(|name, _, _| !name.contains('|')),
        [filter_by, kind, value] if parse::is_option(filter_by, "FILTERBY") => {
            if parse::is_option(kind, "MODULE") {
                Box::new(|_, _, _| false)
            } else if parse::is_option(kind, "ACLCAT") {
                let category = format!("@{}", String::from_utf8_lossy(value).to_ascii_lowercase());
                Box::new(move |name, flags, group| categories(name, flags, group).contains(&category.as_str()))
            } else if parse::is_option(kind, "PATTERN") {
                let pattern = value.to_ascii_lowercase();
                Box::new(move |name, _, _| glob::matches(&pattern, name.as_bytes()))
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let mut names = Vec::new();
    for entry in table::entries() {
        let group = entry.spec.group;
        if filter(entry.spec.name, entry.spec.flags, group) {
            names.push(Reply::text(entry.spec.name));
        }
        for (subcommand, _) in &entry.subcommands {
            let name = full_name(subcommand);
            if filter(&name, subcommand.flags, group) {
                names.push(Reply::text(&name));
            }
        }
    }
    Ok(Reply::Array(names))
}

/// The keys of a command, and what it does with each.
fn keys_of(args: &[Bytes]) -> Result<Vec<(Bytes, &'static [&'static str])>, CommandError> {
    let none = CommandError::fixed("ERR The command has no key arguments");
    let unknown = CommandError::fixed("ERR Invalid command specified");
    let entry = args.first().and_then(|name| find(name)).ok_or(unknown.clone())?;
    let (name, flags, keys, fits) = match args.get(1) {
        Some(subcommand) if !entry.subcommands.is_empty() => {
            let (subcommand, _) = entry.subcommand(subcommand).ok_or(unknown)?;
            (full_name(subcommand), subcommand.flags, subcommand.keys, table::accepts(subcommand.arity, args.len()))
        }
        _ => (entry.spec.name.to_owned(), entry.spec.flags, entry.spec.keys, entry.spec.accepts(args.len())),
    };
    if keys == KeyPositions::NONE {
        return Err(none);
    }
    if !fits {
        return Err(CommandError::fixed("ERR Invalid number of arguments specified for command"));
    }
    let usages = usages(&name, flags);
    let positions = positions(keys, args.len());
    Ok(positions
        .into_iter()
        .enumerate()
        .filter_map(|(index, at)| {
            let usage = usages.get(index).or(usages.first()).copied().unwrap_or_default();
            Some((args.get(at)?.clone(), usage))
        })
        .collect())
}

/// The positions of the keys among so many arguments.
fn positions(keys: KeyPositions, args: usize) -> Vec<usize> {
    let Ok(first) = usize::try_from(keys.first) else { return Vec::new() };
    let last = match usize::try_from(keys.last) {
        Ok(last) => last,
        Err(_) => args.saturating_sub(usize::try_from(keys.last.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let step = usize::try_from(keys.step).unwrap_or(1).max(1);
    (first..=last).step_by(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(words: &[&str]) -> Result<Vec<String>, String> {
        let args: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        keys_of(&args)
            .map(|keys| keys.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect())
            .map_err(|error| error.text().into_owned())
    }

    #[test]
    fn keys_are_found_by_position() {
        assert_eq!(keys(&["get", "a"]), Ok(vec!["a".to_owned()]));
        assert_eq!(keys(&["mset", "a", "b", "c", "d"]), Ok(vec!["a".to_owned(), "c".to_owned()]));
        assert_eq!(keys(&["del", "a", "b"]), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(keys(&["rename", "a", "b"]), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(keys(&["object", "encoding", "a"]), Ok(vec!["a".to_owned()]));
        assert_eq!(keys(&["foo", "a"]), Err("ERR Invalid command specified".to_owned()));
        assert_eq!(keys(&["ping", "a"]), Err("ERR The command has no key arguments".to_owned()));
        assert_eq!(keys(&["get", "a", "b"]), Err("ERR Invalid number of arguments specified for command".to_owned()));
    }
}
