//! How a command ends: its exit code, and the error that says why.
//!
//! The codes are a contract with scripts. Text goes to stderr and may change.

use std::fmt;
use std::process::ExitCode;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// Done.
    Ok,
    /// Done, or looked at, with something that wants attention.
    Warning,
    /// It failed, or what was looked at is failing.
    Critical,
    /// The arguments, the environment or the configuration file are wrong.
    Usage,
    /// The archive, or the server, cannot be reached.
    Unreachable,
    /// Bytes are not what their digests or the chain say.
    Integrity,
    /// Another process holds the directory, or another writer the archive.
    Held,
    /// The moment asked for cannot be restored.
    TargetNotReachable,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Usage => 3,
            Self::Unreachable => 4,
            Self::Integrity => 5,
            Self::Held => 6,
            Self::TargetNotReachable => 7,
        }
    }

    /// The exit with this number; [`Exit::Critical`] for one that is none of ours.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::Warning,
            3 => Self::Usage,
            4 => Self::Unreachable,
            5 => Self::Integrity,
            6 => Self::Held,
            7 => Self::TargetNotReachable,
            _ => Self::Critical,
        }
    }
}

impl From<crate::database::ExitCode> for Exit {
    fn from(code: crate::database::ExitCode) -> Self {
        use crate::database::ExitCode as Code;
        match code {
            Code::Ok => Self::Ok,
            Code::Warning => Self::Warning,
            Code::Critical => Self::Critical,
            Code::Usage => Self::Usage,
            Code::Unreachable => Self::Unreachable,
            Code::Integrity => Self::Integrity,
            Code::Held => Self::Held,
            Code::NotReachable => Self::TargetNotReachable,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command did not do what was asked, for the last line on stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl CliError {
    /// An error that ends the process with this code.
    #[must_use]
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), hint: None }
    }

    /// A mistake in the arguments, the environment or the configuration file.
    #[must_use]
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A failure that fits no other code.
    #[must_use]
    pub fn critical(message: impl fmt::Display) -> Self {
        Self::new(Exit::Critical, message)
    }

    /// The same error with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// How the process ends.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CliError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_contract() {
        let all = [
            Exit::Ok,
            Exit::Warning,
            Exit::Critical,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Integrity,
            Exit::Held,
            Exit::TargetNotReachable,
        ];
        for (code, exit) in (0_u8..).zip(all) {
            assert_eq!(exit.code(), code);
            assert_eq!(Exit::from_code(code), exit);
        }
        assert_eq!(Exit::from_code(101), Exit::Critical);
    }

    #[test]
    fn the_hint_is_on_a_line_of_its_own() {
        let error = CliError::usage("no such thing").hint("try another");
        assert_eq!(error.to_string(), "no such thing\nhint: try another");
        assert_eq!(error.exit(), Exit::Usage);
    }
}
