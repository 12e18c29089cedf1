//! Patterns of `KEYS`, `SCAN … MATCH` and `CONFIG GET`, with Redis's meaning of every odd case.
//!
//! ```text
//! *        any bytes, also none       ?      any one byte        \c     the byte c
//! [abc]    one of these               [^abc] any other one       [a-c]  one of a range, in either order; \c inside too
//! ```
//!
//! An unclosed `[` ends with the pattern. Once a text is used up only stars may be left of the pattern; an empty text
//! matches the empty pattern alone.
//!
//! Everything but a star takes exactly one byte, so it is enough to go back to the last star seen: the time is bounded by
//! the product of the lengths, whatever the pattern.

/// Whether the whole of `text` is of `pattern`'s form.
#[must_use]
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut at, mut pos) = (0, 0);
    // The pattern after the last star, and the first byte of the text that the star has not been tried to swallow.
    let mut star: Option<(usize, usize)> = None;
    while pos < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            if at == pattern.len() {
                return true;
            }
            star = Some((at, pos));
            continue;
        }
        match one(&pattern[at..], text[pos]) {
            Some(used) => {
                at += used;
                pos += 1;
            }
            None => {
                let Some((after_star, swallowed)) = star else { return false };
                at = after_star;
                pos = swallowed + 1;
                star = Some((after_star, pos));
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Whether the first element of `pattern`, which is no star, takes `byte`: the element's length if so.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (taken, used) = class_takes(class, byte);
            taken.then_some(1 + used)
        }
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// Whether the class whose inside starts here takes `byte`, and how long its inside is, the closing bracket included.
fn class_takes(class: &[u8], byte: u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut taken = false;
    loop {
        match &class[at..] {
            [] => break,
            [b'\\', literal, ..] => {
                taken |= *literal == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [from, b'-', to, ..] => {
                taken |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                taken |= *literal == byte;
                at += 1;
            }
        }
    }
    (taken != negated, at)
}

/// The bytes that everything of `pattern`'s form starts with.
#[must_use]
pub(crate) fn literal_prefix(pattern: &[u8]) -> Vec<u8> {
    let mut prefix = Vec::new();
    let mut rest = pattern;
    loop {
        rest = match rest {
            [b'\\', literal, rest @ ..] => {
                prefix.push(*literal);
                rest
            }
            [b'*' | b'?' | b'[', ..] | [] => return prefix,
            [literal, rest @ ..] => {
                prefix.push(*literal);
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} should match {text:?}");
        }
        for text in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} should not match {text:?}");
        }
    }

    #[test]
    fn plain_elements() {
        check("", &[""], &["a"]);
        check("abc", &["abc"], &["ab", "abcd", "", "abd"]);
        check("a?c", &["abc", "a?c"], &["ac", "abbc"]);
        check("h*llo", &["hllo", "heeeello"], &["hllo ", "hell"]);
        check("*", &["a", "anything"], &[""]);
        check("a**", &["a", "ab"], &["", "ba"]);
        check("*a*b*", &["ab", "xaxbx", "aab"], &["ba", "a", "b"]);
        check(r"\*", &["*"], &["a", r"\*"]);
        check(r"a\", &[r"a\"], &["a"]);
    }

    #[test]
    fn classes() {
        check("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]);
        check("h[^e]llo", &["hallo"], &["hello"]);
        check("[a-c]x", &["ax", "bx", "cx"], &["dx", "-x"]);
        check("[c-a]x", &["ax", "bx", "cx"], &["dx"]);
        check(r"[\]]", &["]"], &[r"\"]);
        check("[", &[], &["[", ""]);
        check("[^", &["a", "["], &["ab"]);
        check("[ab", &["a", "b"], &["[ab", "ab"]);
        check("[a-", &["a", "-"], &["b"]);
        check("[a-]", &["a", "]", "_"], &["b", "-"]);
        check("[]a", &[], &["a", "]", "]a"]);
    }

    #[test]
    fn a_hostile_pattern_takes_bounded_time() {
        let pattern = "*a".repeat(5_000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(60_000).as_bytes()));
    }

    #[test]
    fn the_literal_prefix_ends_at_the_first_wildcard() {
        for (pattern, prefix) in [("user:*", "user:"), (r"a\*b?", "a*b"), ("*", ""), ("x[ab]", "x"), (r"a\", r"a\")] {
            assert_eq!(literal_prefix(pattern.as_bytes()), prefix.as_bytes(), "{pattern:?}");
        }
    }
}
