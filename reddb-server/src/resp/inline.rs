//! Splitting an inline command into words.
//!
//! Words are separated by white space. Double quotes enclose bytes with the escapes `\xHH`, `\n`, `\r`, `\t`, `\b`, `\a`
//! and `\<any byte>`; single quotes know `\'` only. A quote may begin inside a word, and must be followed by white space
//! or the end.

use bytes::Bytes;

/// The words of a line, or `None` where its quotes are not balanced.
pub(super) fn split_words(line: &[u8]) -> Option<Vec<Bytes>> {
    let mut words = Vec::new();
    let mut rest = skip_space(line);
    while !rest.is_empty() {
        let (word, after) = next_word(rest)?;
        words.push(Bytes::from(word));
        rest = skip_space(after);
    }
    Some(words)
}

fn skip_space(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    &bytes[start..]
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn next_word(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = line;
    loop {
        match rest {
            [] => return Some((word, rest)),
            [b'"', after @ ..] => return closed(double_quoted(after, &mut word)?).map(|rest| (word, rest)),
            [b'\'', after @ ..] => return closed(single_quoted(after, &mut word)?).map(|rest| (word, rest)),
            [b' ' | b'\t' | b'\n' | b'\r', ..] => return Some((word, rest)),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// What follows a closing quote, if it may.
const fn closed(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [] => Some(rest),
        [byte, ..] if is_space(*byte) => Some(rest),
        _ => None,
    }
}

fn double_quoted<'a>(line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut rest = line;
    loop {
        match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn single_quoted<'a>(line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut rest = line;
    loop {
        match rest {
            [] => return None,
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

const fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        split_words(line).map(|words| words.iter().map(|word| word.to_vec()).collect())
    }

    #[test]
    fn words_and_quotes_as_redis_splits_them() {
        assert_eq!(words(b""), Some(vec![]));
        assert_eq!(words(b" \t "), Some(vec![]));
        assert_eq!(words(b"  PING   x  "), Some(vec![b"PING".to_vec(), b"x".to_vec()]));
        assert_eq!(words(br#"a "b\x41\n\q""#), Some(vec![b"a".to_vec(), b"bA\nq".to_vec()]));
        assert_eq!(words(br#"a"b c""#), Some(vec![b"ab c".to_vec()]));
        assert_eq!(words(br#"'a\'b\n'"#), Some(vec![br"a'b\n".to_vec()]));
        assert_eq!(words(br#""" ''"#), Some(vec![vec![], vec![]]));
        assert_eq!(words(br#""\xZZ""#), Some(vec![b"xZZ".to_vec()]));
        assert_eq!(words(br#""\xfF""#), Some(vec![vec![0xff]]));
    }

    #[test]
    fn open_or_glued_quotes_are_refused() {
        assert_eq!(words(br#"PING "a"#), None);
        assert_eq!(words(br#"PING "a"b"#), None);
        assert_eq!(words(b"PING 'a"), None);
        assert_eq!(words(b"PING 'a'b"), None);
        assert_eq!(words(br#"PING "a\"#), None);
    }
}
