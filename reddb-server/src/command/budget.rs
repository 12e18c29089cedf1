//! How large an answer may be.
//!
//! An answer is whole in memory before it is sent, and one database may be far larger than that. So commands whose answer
//! grows with the data take every element out of a budget before they keep it.

use crate::reply::CommandError;

/// How many bytes an answer's elements take at most, each with [`ELEMENT_BYTES`] beside its own.
pub(crate) const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;
/// What an element takes in memory beside its bytes.
pub(crate) const ELEMENT_BYTES: usize = 64;

/// What an answer may still take.
#[derive(Debug)]
pub(crate) struct AnswerBudget {
    left_bytes: usize,
}

impl AnswerBudget {
    /// A whole answer's.
    #[must_use]
    pub(crate) const fn whole() -> Self {
        Self { left_bytes: ANSWER_BYTES_MAX }
    }

    /// Takes an element of so many bytes.
    ///
    /// # Errors
    /// Where the answer would become too large.
    pub(crate) fn take(&mut self, element_bytes: usize) -> Result<(), CommandError> {
        const TOO_LARGE: CommandError = CommandError::fixed(
            "ERR the answer would take more than 512 MiB; ask for less at once, or use SCAN or HSCAN",
        );
        self.left_bytes = element_bytes
            .checked_add(ELEMENT_BYTES)
            .and_then(|bytes| self.left_bytes.checked_sub(bytes))
            .ok_or(TOO_LARGE)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_exactly() {
        let mut budget = AnswerBudget::whole();
        let half = ANSWER_BYTES_MAX / 2 - ELEMENT_BYTES;
        assert_eq!(budget.take(half), Ok(()));
        assert!(budget.take(half + 1).is_err());
        assert_eq!(budget.take(half), Ok(()));
        assert!(budget.take(0).is_err());
        assert!(AnswerBudget::whole().take(usize::MAX).is_err());
    }
}
