//! Answers to bytes, in a client's protocol version.

use bytes::{BufMut, BytesMut};

use crate::reply::Reply;

/// A protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// What every connection begins with.
    #[default]
    Resp2,
    /// What `HELLO 3` asks for.
    Resp3,
}

impl Protocol {
    /// Its number.
    #[must_use]
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Appends the answer. Types that RESP2 does not have are written as what Redis sends in their place.
pub(crate) fn encode(reply: &Reply, protocol: Protocol, out: &mut BytesMut) {
    let resp3 = protocol == Protocol::Resp3;
    match reply {
        Reply::Ok => out.put_slice(b"+OK\r\n"),
        Reply::Simple(text) => put_line(out, b'+', text.as_bytes()),
        Reply::Error(error) => put_line(out, b'-', error.line()),
        Reply::Int(value) => put_number(out, b':', *value),
        Reply::Bulk(bytes) => put_blob(out, bytes),
        Reply::Null if resp3 => out.put_slice(b"_\r\n"),
        Reply::Null => out.put_slice(b"$-1\r\n"),
        Reply::NullArray if resp3 => out.put_slice(b"_\r\n"),
        Reply::NullArray => out.put_slice(b"*-1\r\n"),
        Reply::Array(items) => put_items(out, b'*', items, protocol),
        Reply::Set(items) => put_items(out, if resp3 { b'~' } else { b'*' }, items, protocol),
        Reply::Map(pairs) => {
            if resp3 {
                put_count(out, b'%', pairs.len());
            } else {
                put_count(out, b'*', pairs.len().saturating_mul(2));
            }
            for (key, value) in pairs {
                encode(key, protocol, out);
                encode(value, protocol, out);
            }
        }
        Reply::Pairs(pairs) => {
            put_count(out, b'*', if resp3 { pairs.len() } else { pairs.len().saturating_mul(2) });
            for (name, value) in pairs {
                if resp3 {
                    put_count(out, b'*', 2);
                }
                encode(name, protocol, out);
                encode(value, protocol, out);
            }
        }
        Reply::Double(value) if resp3 => put_line(out, b',', double_text(*value).as_bytes()),
        Reply::Double(value) => put_blob(out, double_text(*value).as_bytes()),
        Reply::Bool(true) => out.put_slice(if resp3 { b"#t\r\n" } else { b":1\r\n" }),
        Reply::Bool(false) => out.put_slice(if resp3 { b"#f\r\n" } else { b":0\r\n" }),
        Reply::Text(text) if resp3 => {
            put_count(out, b'=', text.len().saturating_add(4));
            out.put_slice(b"txt:");
            out.put_slice(text);
            out.put_slice(b"\r\n");
        }
        Reply::Text(text) => put_blob(out, text),
        Reply::None => {}
    }
}

fn put_items(out: &mut BytesMut, kind: u8, items: &[Reply], protocol: Protocol) {
    put_count(out, kind, items.len());
    for item in items {
        encode(item, protocol, out);
    }
}

fn put_line(out: &mut BytesMut, kind: u8, line: &[u8]) {
    out.reserve(line.len() + 3);
    out.put_u8(kind);
    if memchr::memchr2(b'\r', b'\n', line).is_some() {
        out.extend(line.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    } else {
        out.put_slice(line);
    }
    out.put_slice(b"\r\n");
}

fn put_blob(out: &mut BytesMut, bytes: &[u8]) {
    out.reserve(bytes.len() + 32);
    put_count(out, b'$', bytes.len());
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

fn put_count(out: &mut BytesMut, kind: u8, count: usize) {
    put_number(out, kind, i64::try_from(count).unwrap_or(i64::MAX));
}

fn put_number(out: &mut BytesMut, kind: u8, value: i64) {
    let mut digits = [0u8; 24];
    let mut at = digits.len() - 2;
    digits[at..].copy_from_slice(b"\r\n");
    let mut left = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.reserve(digits.len() + 1 - at);
    out.put_u8(kind);
    out.put_slice(&digits[at..]);
}

/// A number with up to 17 significant digits, in C's `%.17g` form.
fn double_text(value: f64) -> String {
    const DIGITS: i32 = 17;
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if !(-4..DIGITS).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.unsigned_abs());
    }
    let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::reply::CommandError;

    fn bytes(reply: &Reply, protocol: Protocol) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode(reply, protocol, &mut out);
        out.to_vec()
    }

    #[test]
    fn each_type_in_each_protocol() {
        let cases: Vec<(Reply, &str, &str)> = vec![
            (Reply::Ok, "+OK\r\n", "+OK\r\n"),
            (Reply::Simple("PONG".into()), "+PONG\r\n", "+PONG\r\n"),
            (Reply::Error(CommandError::SYNTAX), "-ERR syntax error\r\n", "-ERR syntax error\r\n"),
            (Reply::Int(0), ":0\r\n", ":0\r\n"),
            (Reply::Int(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
            (Reply::Int(i64::MAX), ":9223372036854775807\r\n", ":9223372036854775807\r\n"),
            (Reply::text("a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::NullArray, "*-1\r\n", "_\r\n"),
            (Reply::Array(vec![Reply::Int(1), Reply::Null]), "*2\r\n:1\r\n$-1\r\n", "*2\r\n:1\r\n_\r\n"),
            (Reply::Set(vec![Reply::Int(1)]), "*1\r\n:1\r\n", "~1\r\n:1\r\n"),
            (Reply::Map(vec![(Reply::Int(1), Reply::Int(2))]), "*2\r\n:1\r\n:2\r\n", "%1\r\n:1\r\n:2\r\n"),
            (Reply::Pairs(vec![(Reply::Int(1), Reply::Int(2))]), "*2\r\n:1\r\n:2\r\n", "*1\r\n*2\r\n:1\r\n:2\r\n"),
            (Reply::Double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (Reply::Bool(true), ":1\r\n", "#t\r\n"),
            (Reply::Bool(false), ":0\r\n", "#f\r\n"),
            (Reply::Text(Bytes::from_static(b"hi")), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (Reply::None, "", ""),
        ];
        for (reply, resp2, resp3) in cases {
            assert_eq!(bytes(&reply, Protocol::Resp2), resp2.as_bytes(), "{reply:?}");
            assert_eq!(bytes(&reply, Protocol::Resp3), resp3.as_bytes(), "{reply:?}");
        }
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(bytes(&Reply::Simple("a\r\n+b".into()), Protocol::Resp2), b"+a  +b\r\n");
    }

    #[test]
    fn doubles_as_c_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (-2.5, "-2.5"),
            (0.1, "0.10000000000000001"),
            (1e17, "1e+17"),
            (1e16, "10000000000000000"),
            (1.0e-5, "1.0000000000000001e-05"),
            (1e300, "1.0000000000000001e+300"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(double_text(value), text);
        }
    }
}
