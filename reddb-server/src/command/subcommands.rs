//! The subcommands of container commands: what `COMMAND INFO` tells of them, and how many arguments they take.

use super::KeyPositions;

/// One subcommand.
#[derive(Debug)]
pub(crate) struct SubcommandSpec {
    /// The command that contains it, in lower case.
    pub container: &'static str,
    /// Its name, in lower case.
    pub name: &'static str,
    /// How many arguments it takes, both names included; negative: at least as many.
    pub arity: i32,
    /// Its flags.
    pub flags: &'static [&'static str],
    /// Where its keys stand, counted from the container's name.
    pub keys: KeyPositions,
    /// The Redis version that brought it.
    pub since: &'static str,
    /// One sentence on what it does.
    pub summary: &'static str,
}

const OPEN: &[&str] = &["noscript", "loading", "stale"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];
const HELP: &[&str] = &["loading", "stale"];
const OBJECT_KEY: KeyPositions = KeyPositions { first: 2, last: 2, step: 1 };

const fn spec(
    container: &'static str,
    name: &'static str,
    arity: i32,
    flags: &'static [&'static str],
    since: &'static str,
    summary: &'static str,
) -> SubcommandSpec {
    SubcommandSpec { container, name, arity, flags, keys: KeyPositions::NONE, since, summary }
}

const fn object(name: &'static str, since: &'static str, summary: &'static str) -> SubcommandSpec {
    SubcommandSpec { container: "object", name, arity: 3, flags: &["readonly"], keys: OBJECT_KEY, since, summary }
}

/// Every subcommand.
pub(crate) const SUBCOMMANDS: &[SubcommandSpec] = &[
    spec("client", "caching", 3, OPEN, "6.0.0", "Tells whether the next command's keys are tracked"),
    spec("client", "getname", 2, OPEN, "2.6.9", "Gives the connection's name"),
    spec("client", "getredir", 2, OPEN, "6.0.0", "Gives the connection that invalidations are redirected to"),
    spec("client", "help", 2, HELP, "5.0.0", "Lists the subcommands"),
    spec("client", "id", 2, OPEN, "5.0.0", "Gives the connection's number"),
    spec("client", "info", 2, OPEN, "6.2.0", "Describes this connection"),
    spec("client", "kill", -3, ADMIN, "2.4.0", "Ends connections"),
    spec("client", "list", -2, ADMIN, "2.4.0", "Describes all connections"),
    spec("client", "no-evict", 3, ADMIN, "7.0.0", "Exempts the connection from eviction"),
    spec("client", "no-touch", 3, OPEN, "7.2.0", "Tells whether reads count as use of a key"),
    spec("client", "pause", -3, ADMIN, "2.9.50", "Lets commands wait for a while"),
    spec("client", "reply", 3, OPEN, "3.2.0", "Tells which commands are answered"),
    spec("client", "setinfo", 4, OPEN, "7.2.0", "Names the client library"),
    spec("client", "setname", 3, OPEN, "2.6.9", "Names the connection"),
    spec("client", "tracking", -3, OPEN, "6.0.0", "Controls invalidation messages, which do not exist here"),
    spec("client", "trackinginfo", 2, OPEN, "6.2.0", "Tells what is tracked"),
    spec("client", "unblock", -3, ADMIN, "5.0.0", "Ends another connection's wait"),
    spec("client", "unpause", 2, ADMIN, "6.2.0", "Ends the pause"),
    spec("command", "count", 2, HELP, "2.8.13", "Counts the commands"),
    spec("command", "docs", -2, HELP, "7.0.0", "Documents commands"),
    spec("command", "getkeys", -4, HELP, "2.8.13", "Finds the keys among a command's arguments"),
    spec("command", "getkeysandflags", -4, HELP, "7.0.0", "Finds the keys among a command's arguments, and their use"),
    spec("command", "help", 2, HELP, "5.0.0", "Lists the subcommands"),
    spec("command", "info", -2, HELP, "2.8.13", "Describes commands"),
    spec("command", "list", -2, HELP, "7.0.0", "Lists the names of commands"),
    spec("config", "get", -3, ADMIN, "2.0.0", "Gives settings"),
    spec("config", "help", 2, HELP, "5.0.0", "Lists the subcommands"),
    spec("config", "resetstat", 2, ADMIN, "2.0.0", "Sets the statistics back to zero"),
    spec("config", "rewrite", 2, ADMIN, "2.8.0", "Writes the settings to the configuration file"),
    spec("config", "set", -4, ADMIN, "2.0.0", "Changes settings"),
    spec("function", "flush", -2, &["write", "noscript"], "7.0.0", "Deletes all functions, of which there are none"),
    spec("function", "help", 2, HELP, "7.0.0", "Lists the subcommands"),
    spec("function", "list", -2, &["noscript"], "7.0.0", "Lists the functions, of which there are none"),
    spec("function", "stats", 2, &["noscript", "allow_busy"], "7.0.0", "Tells which function runs: none"),
    object("encoding", "2.2.3", "Tells how a value is represented"),
    object("freq", "4.0.0", "Tells how often a key is used"),
    spec("object", "help", 2, HELP, "6.2.0", "Lists the subcommands"),
    object("idletime", "2.2.3", "Tells how long a key has not been used"),
    object("refcount", "2.2.3", "Tells how often a value is referred to"),
];
