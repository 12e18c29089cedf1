//! What follows a command's name: one line a command, and its form for `COMMAND DOCS`.
//!
//! ```text
//! usage  := item*                    item  := form ["..."]            "..." : once or more
//! form   := word                     a value with that name
//!         | WORD [word]              a token, with the value that follows it
//!         | "[" choice "]"           may be left out
//!         | "(" choice ")"           belongs together
//! choice := usage ("|" usage)*       one of these
//! ```

use crate::reply::Reply;

/// What follows the name of a command, or of `container|subcommand`.
pub(super) fn usage(name: &str) -> &'static str {
    match name {
        "append" | "getset" | "setnx" => "key value",
        "auth" => "[username] password",
        "bgsave" => "[SCHEDULE]",
        "client|caching" => "(YES | NO)",
        "client|kill" => {
            "(ip:port | ([ID client-id] [TYPE (NORMAL | MASTER | REPLICA | PUBSUB)] [USER username] [ADDR ip:port] \
             [LADDR ip:port] [SKIPME yes/no])...)"
        }
        "client|list" => "[TYPE (NORMAL | MASTER | REPLICA | PUBSUB)] [ID client-id...]",
        "client|no-evict" | "client|no-touch" => "(ON | OFF)",
        "client|pause" => "timeout [WRITE | ALL]",
        "client|reply" => "(ON | OFF | SKIP)",
        "client|setinfo" => "(LIB-NAME libname | LIB-VER libver)",
        "client|setname" => "connection-name",
        "client|tracking" => "(ON | OFF)",
        "client|unblock" => "client-id [TIMEOUT | ERROR]",
        "command|docs" | "command|info" => "[command-name...]",
        "command|getkeys" | "command|getkeysandflags" => "command [arg...]",
        "command|list" => "[FILTERBY (MODULE module-name | ACLCAT category | PATTERN pattern)]",
        "config|get" => "parameter...",
        "config|set" => "(parameter value)...",
        "copy" => "source destination [DB destination-db] [REPLACE]",
        "decr" | "get" | "getdel" | "incr" | "strlen" | "expiretime" | "hgetall" | "hkeys" | "hlen" | "hvals"
        | "persist" | "pexpiretime" | "pttl" | "ttl" | "type" | "object|encoding" | "object|freq"
        | "object|idletime" | "object|refcount" => "key",
        "decrby" => "key decrement",
        "del" | "exists" | "mget" | "touch" | "unlink" | "watch" => "key...",
        "echo" => "message",
        "expire" => "key seconds [NX | XX | GT | LT]",
        "expireat" => "key unix-time-seconds [NX | XX | GT | LT]",
        "flushall" | "flushdb" | "function|flush" => "[ASYNC | SYNC]",
        "function|list" => "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        "getex" => {
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]"
        }
        "getrange" | "substr" => "key start end",
        "hdel" => "key field...",
        "hello" => "[protover [AUTH (username password)] [SETNAME clientname]]",
        "hexists" | "hget" | "hstrlen" => "key field",
        "hincrby" => "key field increment",
        "hincrbyfloat" => "key field increment-by",
        "hmget" => "key field...",
        "hmset" | "hset" => "key (field value)...",
        "hrandfield" => "key [count [WITHVALUES]]",
        "hscan" => "key cursor [MATCH pattern] [COUNT count]",
        "hsetnx" => "key field value",
        "incrby" => "key increment",
        "incrbyfloat" => "key increment-by",
        "info" => "[section...]",
        "keys" => "pattern",
        "lcs" => "key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]",
        "lolwut" => "[VERSION version]",
        "move" => "key db",
        "mset" | "msetnx" => "(key value)...",
        "pexpire" => "key milliseconds [NX | XX | GT | LT]",
        "pexpireat" => "key unix-time-milliseconds [NX | XX | GT | LT]",
        "ping" => "[message]",
        "psetex" => "key milliseconds value",
        "rename" | "renamenx" => "key newkey",
        "scan" => "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        "select" => "index",
        "set" => {
            "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
             PXAT unix-time-milliseconds | KEEPTTL]"
        }
        "setex" => "key seconds value",
        "setrange" => "key offset value",
        "swapdb" => "index1 index2",
        "wait" => "numreplicas timeout",
        _ => "",
    }
}

/// One argument of a usage line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Argument {
    form: Form,
    token: Option<String>,
    optional: bool,
    multiple: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Value(String),
    Token,
    Block(Vec<Argument>),
    OneOf(Vec<Argument>),
}

impl Argument {
    const fn new(form: Form) -> Self {
        Self { form, token: None, optional: false, multiple: false }
    }

    fn name(&self) -> String {
        match &self.form {
            Form::Value(name) => name.clone(),
            Form::Token => self.token.as_deref().unwrap_or_default().to_ascii_lowercase(),
            Form::Block(parts) | Form::OneOf(parts) => {
                parts.iter().map(Self::name).collect::<Vec<_>>().join(if self.is_choice() { "_or_" } else { "_" })
            }
        }
    }

    const fn is_choice(&self) -> bool {
        matches!(self.form, Form::OneOf(_))
    }

    fn kind(&self) -> &'static str {
        match &self.form {
            Form::Token => "pure-token",
            Form::Block(_) => "block",
            Form::OneOf(_) => "oneof",
            Form::Value(name) => match name.as_str() {
                "key" | "key1" | "key2" | "newkey" | "source" | "destination" => "key",
                "pattern" | "library-name-pattern" => "pattern",
                "unix-time-seconds" | "unix-time-milliseconds" => "unix-time",
                "increment-by" => "double",
                "client-id" | "count" | "cursor" | "db" | "decrement" | "destination-db" | "end" | "increment"
                | "index" | "index1" | "index2" | "len" | "milliseconds" | "numreplicas" | "offset" | "protover"
                | "seconds" | "start" | "timeout" | "version" => "integer",
                _ => "string",
            },
        }
    }

    fn reply(&self) -> Reply {
        let text = |text: &str| Reply::text(text);
        let mut fields = vec![(text("name"), text(&self.name())), (text("type"), text(self.kind()))];
        if self.kind() == "key" {
            fields.push((text("key_spec_index"), Reply::Int(0)));
        }
        if let Some(token) = &self.token {
            fields.push((text("token"), text(token)));
        }
        let flags = [(self.optional, "optional"), (self.multiple, "multiple")];
        let flags: Vec<Reply> =
            flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| Reply::Simple(flag.into())).collect();
        if !flags.is_empty() {
            fields.push((text("flags"), Reply::Set(flags)));
        }
        if let Form::Block(parts) | Form::OneOf(parts) = &self.form {
            fields.push((text("arguments"), Reply::Array(parts.iter().map(Self::reply).collect())));
        }
        Reply::Map(fields)
    }
}

/// The arguments of a command as `COMMAND DOCS` tells them, none where it takes none.
pub(super) fn arguments(name: &str) -> Vec<Reply> {
    Parser::new(usage(name)).usage().iter().map(Argument::reply).collect()
}

struct Parser<'a> {
    words: std::iter::Peekable<std::vec::IntoIter<&'a str>>,
}

impl<'a> Parser<'a> {
    fn new(line: &'a str) -> Self {
        let mut words = Vec::new();
        for mut word in line.split_ascii_whitespace() {
            while let Some(rest) = word.strip_prefix(['[', '(']) {
                words.push(&word[..1]);
                word = rest;
            }
            let name = word.find([']', ')', '.']).unwrap_or(word.len());
            if name > 0 {
                words.push(&word[..name]);
            }
            let mut tail = &word[name..];
            while !tail.is_empty() {
                let length = if tail.starts_with("...") { 3 } else { 1 };
                words.push(&tail[..length]);
                tail = &tail[length..];
            }
        }
        Self { words: words.into_iter().peekable() }
    }

    fn take(&mut self, word: &str) -> bool {
        self.words.next_if_eq(&word).is_some()
    }

    fn usage(&mut self) -> Vec<Argument> {
        let mut arguments = Vec::new();
        while let Some(word) = self.words.next_if(|word| !matches!(*word, "]" | ")" | "|")) {
            let mut argument = self.form(word);
            argument.multiple |= self.take("...");
            arguments.push(argument);
        }
        arguments
    }

    fn form(&mut self, word: &'a str) -> Argument {
        match word {
            "[" => {
                let mut argument = self.choice();
                argument.optional = true;
                argument
            }
            "(" => self.choice(),
            word if is_token(word) => {
                let next =
                    self.words.next_if(|next| !matches!(*next, "[" | "]" | ")" | "|" | "...") && !is_token(next));
                let mut argument = match next {
                    Some("(") => self.choice(),
                    Some(value) => Argument::new(Form::Value(value.to_owned())),
                    None => Argument::new(Form::Token),
                };
                argument.token = Some(word.to_owned());
                argument
            }
            word => Argument::new(Form::Value(word.to_owned())),
        }
    }

    /// What stands between brackets, and the closing one.
    fn choice(&mut self) -> Argument {
        let mut choices = Vec::new();
        loop {
            let mut usage = self.usage();
            let single = usage.len() == 1;
            choices.push(match usage.pop() {
                Some(only) if single => only,
                Some(last) => {
                    usage.push(last);
                    Argument::new(Form::Block(usage))
                }
                None => Argument::new(Form::Block(usage)),
            });
            if self.words.next() != Some("|") {
                break;
            }
        }
        match choices.pop() {
            Some(only) if choices.is_empty() => only,
            last => {
                choices.extend(last);
                Argument::new(Form::OneOf(choices))
            }
        }
    }
}

fn is_token(word: &str) -> bool {
    word.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    fn shape(argument: &Argument) -> String {
        let parts = |parts: &[Argument], between: &str| parts.iter().map(shape).collect::<Vec<_>>().join(between);
        let form = match &argument.form {
            Form::Value(name) => name.clone(),
            Form::Token => String::new(),
            Form::Block(inside) => format!("({})", parts(inside, " ")),
            Form::OneOf(inside) => format!("<{}>", parts(inside, "|")),
        };
        let token = argument.token.as_ref().map(|token| format!("{token}:")).unwrap_or_default();
        let (optional, multiple) = (if argument.optional { "?" } else { "" }, if argument.multiple { "+" } else { "" });
        format!("{token}{form}{optional}{multiple}")
    }

    fn shapes(line: &str) -> String {
        Parser::new(line).usage().iter().map(shape).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn usage_lines_are_read() {
        assert_eq!(
            shapes("key value [NX | XX] [GET] [EX seconds | KEEPTTL]"),
            "key value <NX:|XX:>? GET:? <EX:seconds|KEEPTTL:>?"
        );
        assert_eq!(shapes("key (field value)..."), "key (field value)+");
        assert_eq!(shapes("key..."), "key+");
        assert_eq!(shapes("[key...]"), "key?+");
        assert_eq!(shapes("key [count [WITHVALUES]]"), "key (count WITHVALUES:?)?");
        assert_eq!(shapes("[TYPE (A | B)] [ID client-id...]"), "TYPE:<A:|B:>? ID:client-id?+");
        assert_eq!(shapes(""), "");
    }

    #[test]
    fn every_command_that_takes_arguments_says_which() {
        for entry in table::entries() {
            let (name, arity) = (entry.spec.name, entry.spec.arity);
            let documented = !usage(name).is_empty() || !entry.subcommands.is_empty();
            let takes = arity != 1 && !matches!(name, "quit");
            assert_eq!(documented, takes, "{name}");
            let required = Parser::new(usage(name)).usage().iter().filter(|argument| !argument.optional).count();
            if entry.subcommands.is_empty() && takes {
                assert!(
                    required < usize::try_from(arity.unsigned_abs()).expect("small"),
                    "{name}: {required} of {arity}"
                );
            }
            for (subcommand, _) in &entry.subcommands {
                let full = format!("{name}|{}", subcommand.name);
                assert_eq!(!usage(&full).is_empty(), subcommand.arity != 2, "{full}");
            }
        }
    }
}
