//! How a process ends: the exit codes, which are a contract with scripts.

use std::process::ExitCode;

/// How a process ends, or should end: one number for each kind of outcome.
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

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

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
}
