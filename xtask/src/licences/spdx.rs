//! SPDX licence expressions: `OR`, `AND`, `WITH`, parentheses, and the slash that old manifests write for `OR`.
//!
//! ```text
//! or      := and ("OR" and)*          "/" means OR
//! and     := primary ("AND" primary)*
//! primary := "(" or ")" | licence ["WITH" exception]
//! ```
//! Invariant: `AND` binds tighter than `OR`. Whether a licence is welcome is the caller's question, not this file's.

/// A parsed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    /// One licence, with the exception that `WITH` adds to it.
    Licence { id: String, exception: Option<String> },
    /// The user may choose one.
    Any(Vec<Expression>),
    /// All apply together.
    All(Vec<Expression>),
}

/// Parentheses nested deeper than this are refused, so that a hostile manifest cannot exhaust the stack.
const DEPTH_MAX: usize = 16;

impl Expression {
    /// Parses a whole expression.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text), next: 0, depth: 0 };
        let expression = parser.any()?;
        match parser.peek() {
            None => Ok(expression),
            Some(rest) => Err(format!("{rest:?} where an operator or the end belongs")),
        }
    }

    /// Whether choices exist under which every licence that then applies is accepted.
    pub(crate) fn is_satisfied_by(&self, accepts: &impl Fn(&str, Option<&str>) -> bool) -> bool {
        match self {
            Self::Licence { id, exception } => accepts(id, exception.as_deref()),
            Self::Any(choices) => choices.iter().any(|choice| choice.is_satisfied_by(accepts)),
            Self::All(parts) => parts.iter().all(|part| part.is_satisfied_by(accepts)),
        }
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '(' | ')' => spaced.extend([' ', character, ' ']),
            '/' => spaced.push_str(" OR "),
            other => spaced.push(other),
        }
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

struct Parser {
    tokens: Vec<String>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.next).map(String::as_str)
    }

    fn take(&mut self, wanted: &str) -> bool {
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.next += 1;
        }
        is_there
    }

    fn any(&mut self) -> Result<Expression, String> {
        let mut choices = vec![self.all()?];
        while self.take("OR") {
            choices.push(self.all()?);
        }
        Ok(single_or(choices, Expression::Any))
    }

    fn all(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.primary()?];
        while self.take("AND") {
            parts.push(self.primary()?);
        }
        Ok(single_or(parts, Expression::All))
    }

    fn primary(&mut self) -> Result<Expression, String> {
        if self.take("(") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(format!("parentheses deeper than {DEPTH_MAX}"));
            }
            let inner = self.any()?;
            self.depth -= 1;
            return if self.take(")") { Ok(inner) } else { Err("a parenthesis is not closed".to_owned()) };
        }
        let id = self.identifier("a licence")?;
        let exception = if self.take("WITH") { Some(self.identifier("an exception")?) } else { None };
        Ok(Expression::Licence { id, exception })
    }

    fn identifier(&mut self, what: &str) -> Result<String, String> {
        match self.tokens.get(self.next) {
            None => Err(format!("ends where {what} belongs")),
            Some(token) if ["(", ")", "AND", "OR", "WITH"].contains(&token.as_str()) => {
                Err(format!("{token:?} where {what} belongs"))
            }
            Some(token) => {
                self.next += 1;
                Ok(token.clone())
            }
        }
    }
}

fn single_or(mut parts: Vec<Expression>, combine: fn(Vec<Expression>) -> Expression) -> Expression {
    if parts.len() == 1 { parts.remove(0) } else { combine(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only<'a>(accepted: &'a [&'a str]) -> impl Fn(&str, Option<&str>) -> bool + 'a {
        move |id, exception| exception.is_none() && accepted.contains(&id)
    }

    fn satisfied(text: &str, accepted: &[&str]) -> bool {
        Expression::parse(text).unwrap().is_satisfied_by(&only(accepted))
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert!(satisfied("A OR B AND C", &["A"]));
        assert!(!satisfied("A OR B AND C", &["B"]));
        assert!(!satisfied("(A OR B) AND C", &["A"]));
        assert!(satisfied("(A OR B) AND C", &["B", "C"]));
    }

    #[test]
    fn a_slash_is_an_or() {
        assert!(satisfied("A/B", &["B"]));
        assert!(satisfied("A / B", &["A"]));
    }

    #[test]
    fn an_exception_is_part_of_its_licence() {
        let expression = Expression::parse("A WITH E OR B").unwrap();
        assert!(expression.is_satisfied_by(&|id, exception| (id, exception) == ("A", Some("E"))));
        assert!(!expression.is_satisfied_by(&|id, exception| (id, exception) == ("A", None)));
    }

    #[test]
    fn what_is_not_an_expression_is_an_error() {
        for text in ["", "OR", "A OR", "A AND AND B", "(A", "A)", "A B", "A WITH", "()", "A WITH (E)"] {
            assert!(Expression::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |depth: usize| format!("{}A{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Expression::parse(&deep(DEPTH_MAX)).is_ok());
        assert!(Expression::parse(&deep(DEPTH_MAX + 1)).is_err());
    }
}
