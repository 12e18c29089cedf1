//! What `CONFIG GET` and `CONFIG SET` see.
//!
//! Three settings act: `maxclients`, `timeout` and `requirepass`. `CONFIG SET` changes all its pairs or none.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use super::setting_names::{Kind, NAMES, Name};
use crate::command::{glob, parse};
use crate::reply::CommandError;

/// The settings of one data port.
#[derive(Debug)]
pub(crate) struct Settings {
    values: RwLock<BTreeMap<&'static str, Bytes>>,
    clients_max: AtomicU64,
    idle_timeout_s: AtomicU64,
    password: RwLock<Option<[u8; 32]>>,
    guarded: AtomicBool,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

impl Settings {
    /// The defaults: ten thousand clients, no timeout, no password.
    #[must_use]
    pub(crate) fn new() -> Self {
        let values = NAMES.iter().map(|name| (name.name, Bytes::from_static(name.default.as_bytes()))).collect();
        let settings = Self {
            values: RwLock::new(values),
            clients_max: AtomicU64::new(0),
            idle_timeout_s: AtomicU64::new(0),
            password: RwLock::new(None),
            guarded: AtomicBool::new(false),
        };
        for name in NAMES {
            settings.act(name.name, name.default.as_bytes());
        }
        settings
    }

    /// Gives a setting its value when the process starts, also where it cannot be changed afterwards.
    pub(crate) fn preset(&self, name: &'static str, value: impl Into<Bytes>) {
        let value = value.into();
        self.act(name, &value);
        self.values.write().insert(name, value);
    }

    /// The most clients at a time.
    #[must_use]
    pub(crate) fn clients_max(&self) -> u64 {
        self.clients_max.load(Ordering::Relaxed)
    }

    /// After how long an idle client is disconnected, if ever.
    #[must_use]
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        match self.idle_timeout_s.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    /// Whether there is a password.
    #[must_use]
    pub(crate) fn is_guarded(&self) -> bool {
        self.guarded.load(Ordering::Acquire)
    }

    /// Whether this is the password; the time taken does not depend on how much of it is right.
    #[must_use]
    pub(crate) fn password_is(&self, password: &[u8]) -> bool {
        let Some(expected) = *self.password.read() else { return true };
        let given: [u8; 32] = Sha256::digest(password).into();
        expected.iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }

    /// A setting's value.
    #[must_use]
    pub(crate) fn value(&self, name: &str) -> Option<Bytes> {
        self.values.read().get(name).cloned()
    }

    /// The settings whose name, or older name, matches one of the patterns, with their values, by name. A pattern that is
    /// a name gives it back as it is written.
    #[must_use]
    pub(crate) fn matching(&self, patterns: &[Bytes]) -> BTreeMap<Bytes, Bytes> {
        let values = self.values.read();
        let value = |name: &Name| values.get(name.name).cloned();
        let mut found = BTreeMap::new();
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
                found.extend(
                    find(pattern).and_then(value).map(|value| (pattern.to_ascii_lowercase(), (pattern.clone(), value))),
                );
                continue;
            }
            let lower = pattern.to_ascii_lowercase();
            for name in NAMES {
                for called in [Some(name.name), name.alias].into_iter().flatten() {
                    if glob::matches(&lower, called.as_bytes())
                        && let Some(value) = value(name)
                    {
                        let called = Bytes::from_static(called.as_bytes());
                        found.entry(called.to_vec()).or_insert((called, value));
                    }
                }
            }
        }
        found.into_values().collect()
    }

    /// Sets names to values, all of them or, where one is refused, none.
    ///
    /// # Errors
    /// In Redis's words.
    pub(crate) fn set(&self, pairs: &[Bytes]) -> Result<(), CommandError> {
        if !pairs.len().is_multiple_of(2) {
            return Err(CommandError::SYNTAX);
        }
        let mut changes: Vec<(&'static Name, Bytes)> = Vec::new();
        for [called, value] in pairs.as_chunks().0 {
            let Some(name) = find(called) else {
                let before = "ERR Unknown option or number of arguments for CONFIG SET - '";
                return Err(CommandError::quoting(before, called, "'"));
            };
            let refused = |called: &[u8], reason: &str| {
                let before = "ERR CONFIG SET failed (possibly related to argument '";
                CommandError::quoting(before, called, &format!("') - {reason}"))
            };
            if name.kind == Kind::Fixed {
                return Err(refused(called, "can't set immutable config"));
            }
            if changes.iter().any(|(other, _)| other.name == name.name) {
                return Err(refused(called, "duplicate parameter"));
            }
            // A value's refusal shows the setting's name as it is written in the table, the others as it was given.
            let value = name.kind.canonical(value).map_err(|reason| refused(&called.to_ascii_lowercase(), &reason))?;
            changes.push((name, value));
        }
        let mut values = self.values.write();
        for (name, value) in changes {
            self.act(name.name, &value);
            values.insert(name.name, value);
        }
        Ok(())
    }

    /// Makes a setting that acts do so.
    fn act(&self, name: &str, value: &[u8]) {
        let number = || parse::integer(value).and_then(|number| u64::try_from(number).ok());
        match name {
            "maxclients" => self.clients_max.store(number().unwrap_or(1), Ordering::Relaxed),
            "timeout" => self.idle_timeout_s.store(number().unwrap_or(0), Ordering::Relaxed),
            "requirepass" => {
                let digest = (!value.is_empty()).then(|| Sha256::digest(value).into());
                *self.password.write() = digest;
                self.guarded.store(digest.is_some(), Ordering::Release);
            }
            _ => {}
        }
    }
}

fn find(called: &[u8]) -> Option<&'static Name> {
    let is = |name: &str| called.eq_ignore_ascii_case(name.as_bytes());
    NAMES.iter().find(|name| is(name.name) || name.alias.is_some_and(is))
}

impl Kind {
    /// The value in the form in which it is given back.
    fn canonical(self, value: &Bytes) -> Result<Bytes, String> {
        let words = || value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        match self {
            Self::Flag if value.eq_ignore_ascii_case(b"yes") || value.eq_ignore_ascii_case(b"no") => {
                Ok(value.to_ascii_lowercase().into())
            }
            Self::Flag => Err("argument must be 'yes' or 'no'".to_owned()),
            Self::Integer(min, max) => match parse::integer(value) {
                None => Err("argument couldn't be parsed into an integer".to_owned()),
                Some(number) if number < min || number > max => {
                    Err(format!("argument must be between {min} and {max} inclusive"))
                }
                Some(_) => Ok(value.clone()),
            },
            Self::Bytes => match byte_count(value) {
                Some(bytes) => Ok(bytes.to_string().into()),
                None => Err("argument must be a memory value".to_owned()),
            },
            Self::Choice(choices) => choices
                .iter()
                .find(|choice| value.eq_ignore_ascii_case(choice.as_bytes()))
                .map(|choice| Bytes::from_static(choice.as_bytes()))
                .ok_or_else(|| format!("argument(s) must be one of the following: {}", choices.join(", "))),
            Self::Text => Ok(Bytes::copy_from_slice(value)),
            Self::SavePoints => {
                let numbers: Option<Vec<i64>> = words().map(parse::integer).collect();
                match numbers {
                    Some(numbers)
                        if numbers.len().is_multiple_of(2)
                            && numbers
                                .as_chunks()
                                .0
                                .iter()
                                .all(|[seconds, changes]| *seconds >= 1 && *changes >= 0) =>
                    {
                        Ok(words().collect::<Vec<_>>().join(&b' ').into())
                    }
                    _ => Err("Invalid save parameters".to_owned()),
                }
            }
            Self::EventClasses => event_classes(value),
            Self::BufferLimits => {
                let words: Vec<&[u8]> = words().collect();
                if words.is_empty() || !words.len().is_multiple_of(4) {
                    return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
                }
                Ok(words.join(&b' ').into())
            }
            Self::Fixed => Err("can't set immutable config".to_owned()),
        }
    }
}

/// A number of bytes with an optional unit: `kb`, `mb`, `gb` are powers of 1024; `k`, `m`, `g` of 1000.
fn byte_count(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1024,
        b"m" => 1_000_000,
        b"mb" => 1024 * 1024,
        b"g" => 1_000_000_000,
        b"gb" => 1024 * 1024 * 1024,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Event classes in the order and the short form in which Redis gives them back.
fn event_classes(value: &[u8]) -> Result<Bytes, String> {
    const ALL: &[u8] = b"g$lshzxetd";
    const ORDER: &[u8] = b"g$lshzxetdKEmn";
    let mut classes = Vec::new();
    for class in value {
        match class {
            b'A' => classes.extend(ALL),
            class if ORDER.contains(class) => classes.push(*class),
            _ => return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned()),
        }
    }
    let all = ALL.iter().all(|class| classes.contains(class));
    let kept = ORDER.iter().filter(|class| classes.contains(class) && !(all && ALL.contains(class)));
    Ok(all.then_some(&b'A').into_iter().chain(kept).copied().collect::<Vec<u8>>().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(settings: &Settings, pairs: &[&str]) -> Result<(), String> {
        let pairs: Vec<Bytes> = pairs.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
        settings.set(&pairs).map_err(|error| error.text().into_owned())
    }

    fn get(settings: &Settings, name: &str) -> String {
        String::from_utf8(settings.value(name).expect("known").to_vec()).expect("text")
    }

    #[test]
    fn what_tools_set_is_kept_and_given_back() {
        let settings = Settings::new();
        for (name, given, back) in [
            ("maxmemory", "100mb", "104857600"),
            ("maxmemory", "1k", "1000"),
            ("maxmemory-policy", "ALLKEYS-LRU", "allkeys-lru"),
            ("appendonly", "no", "no"),
            ("save", "900  1 300 10", "900 1 300 10"),
            ("save", "", ""),
            ("notify-keyspace-events", "KEA", "AKE"),
            ("notify-keyspace-events", "Elg", "glE"),
            ("hash-max-ziplist-entries", "128", "128"),
            ("slowlog-log-slower-than", "-1", "-1"),
        ] {
            set(&settings, &[name, given]).expect(name);
            let matching = settings.matching(&[Bytes::copy_from_slice(name.as_bytes())]);
            assert_eq!(matching.into_values().collect::<Vec<_>>(), [back], "{name}");
        }
    }

    #[test]
    fn all_pairs_or_none() {
        let settings = Settings::new();
        assert!(set(&settings, &["maxmemory", "5", "timeout", "x"]).is_err());
        assert_eq!(get(&settings, "maxmemory"), "0");
        set(&settings, &["maxmemory", "5", "timeout", "7"]).expect("both are right");
        assert_eq!((get(&settings, "maxmemory"), settings.idle_timeout()), ("5".into(), Some(Duration::from_secs(7))));
    }

    #[test]
    fn refusals_are_in_redis_words() {
        let settings = Settings::new();
        let failed = |name: &str, reason: &str| {
            Err(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
        };
        for (pair, outcome) in [
            (["maxclients", "0"], failed("maxclients", "argument must be between 1 and 4294967295 inclusive")),
            (["maxclients", "x"], failed("maxclients", "argument couldn't be parsed into an integer")),
            (["databases", "4"], failed("databases", "can't set immutable config")),
            (["appendonly", "x"], failed("appendonly", "argument must be 'yes' or 'no'")),
            (["maxmemory", "x"], failed("maxmemory", "argument must be a memory value")),
            (["save", "x"], failed("save", "Invalid save parameters")),
            (["foo", "x"], Err("ERR Unknown option or number of arguments for CONFIG SET - 'foo'".to_owned())),
        ] {
            assert_eq!(set(&settings, &pair), outcome);
        }
        assert_eq!(set(&settings, &["hz", "1", "hz", "2"]), failed("hz", "duplicate parameter"));
        assert_eq!(set(&settings, &["hz", "1", "hz"]), Err("ERR syntax error".to_owned()));
    }

    #[test]
    fn a_password_is_asked_for_once_there_is_one() {
        let settings = Settings::new();
        assert!(!settings.is_guarded());
        set(&settings, &["requirepass", "secret"]).expect("accepted");
        assert!(settings.is_guarded());
        assert!(settings.password_is(b"secret"));
        assert!(!settings.password_is(b"secret "));
        assert!(!settings.password_is(b""));
        set(&settings, &["requirepass", ""]).expect("accepted");
        assert!(!settings.is_guarded());
    }
}
