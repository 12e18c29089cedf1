//! Why a command did not do what was asked. The text goes to stderr and may change; the exit code does not.

use std::fmt;

pub(crate) use crate::exit::Exit;

/// Why a command did not do what was asked, for the last line on stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CliError {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl CliError {
    /// An error that ends the process with this code.
    #[must_use]
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), hint: None }
    }

    /// A mistake in the arguments, the environment or the configuration file.
    #[must_use]
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A failure that fits no other code.
    #[must_use]
    pub(crate) fn critical(message: impl fmt::Display) -> Self {
        Self::new(Exit::Critical, message)
    }

    /// The same error with what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The same error, critical where it is that nobody answers.
    #[must_use]
    pub(crate) fn or_critical(mut self) -> Self {
        if self.exit == Exit::Unreachable {
            self.exit = Exit::Critical;
        }
        self
    }

    /// How the process ends.
    #[must_use]
    pub(crate) const fn exit(&self) -> Exit {
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
    fn the_hint_is_on_a_line_of_its_own() {
        let error = CliError::usage("no such thing").hint("try another");
        assert_eq!(error.to_string(), "no such thing\nhint: try another");
        assert_eq!(error.exit(), Exit::Usage);
    }
}
