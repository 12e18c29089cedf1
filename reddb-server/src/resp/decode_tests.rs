//! Decoding: whatever is sent, in whatever pieces.

use proptest::prelude::*;

use super::*;

fn counted(args: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend(format!("${}\r\n", arg.len()).into_bytes());
        bytes.extend(arg);
        bytes.extend(b"\r\n");
    }
    bytes
}

fn decode_all(decoder: &mut Decoder, trust: Trust) -> Result<Vec<Vec<Bytes>>, ProtocolError> {
    let mut commands = Vec::new();
    while let Some(command) = decoder.next_command(trust)? {
        commands.push(command);
    }
    Ok(commands)
}

fn decode(bytes: &[u8]) -> Result<Vec<Vec<Bytes>>, ProtocolError> {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    decode_all(&mut decoder, Trust::Known)
}

proptest! {
    #[test]
    fn commands_survive_any_fragmentation(
        commands in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), 1..8),
        cuts in prop::collection::vec(1usize..50, 0..40),
    ) {
        let bytes: Vec<u8> = commands.iter().flat_map(|args| counted(args)).collect();
        let mut decoder = Decoder::new();
        let (mut got, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            decoder.push(piece);
            got.extend(decode_all(&mut decoder, Trust::Known).unwrap());
            rest = after;
        }
        decoder.push(rest);
        got.extend(decode_all(&mut decoder, Trust::Known).unwrap());
        let got: Vec<Vec<Vec<u8>>> = got.iter().map(|args| args.iter().map(|arg| arg.to_vec()).collect()).collect();
        prop_assert_eq!(got, commands);
        prop_assert_eq!(decoder.buffered_bytes(), 0);
    }

    /// What is all there is decoded in another way than what arrives in pieces.
    #[test]
    fn all_at_once_or_byte_by_byte_makes_no_difference(
        commands in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..14), 1..11), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"*$\r\n0129-a"[..])), 0..3),
        trust in prop::sample::select(&[Trust::Stranger, Trust::Known][..]),
    ) {
        let mut bytes: Vec<u8> = commands.iter().flat_map(|args| counted(args)).collect();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let decode_pieces = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let (mut decoder, mut got) = (Decoder::new(), Vec::new());
            for piece in pieces {
                decoder.push(piece);
                loop {
                    match decoder.next_command(trust) {
                        Ok(Some(command)) => got.push(command),
                        Ok(None) => break,
                        Err(error) => return (got, Some(error)),
                    }
                }
            }
            (got, None)
        };
        prop_assert_eq!(decode_pieces(&mut std::iter::once(&bytes[..])), decode_pieces(&mut bytes.chunks(1)));
    }

    #[test]
    fn any_bytes_give_commands_or_an_error_and_hold_no_more_than_was_sent(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"*$\r\n0129-\"' "[..])], 0..300),
        cut in 0usize..300,
    ) {
        for trust in [Trust::Stranger, Trust::Known] {
            let mut decoder = Decoder::new();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            decoder.push(first);
            let commands = decode_all(&mut decoder, trust).and_then(|mut commands| {
                decoder.push(second);
                commands.extend(decode_all(&mut decoder, trust)?);
                Ok(commands)
            });
            if let Ok(commands) = commands {
                let given: usize = commands.iter().flatten().map(Bytes::len).sum();
                prop_assert!(given + decoder.buffered_bytes() <= bytes.len());
                prop_assert!(commands.iter().all(|command| !command.is_empty()));
            }
            prop_assert!(decoder.buffer.capacity() <= 2 * bytes.len() + 64);
            prop_assert!(decoder.spans.capacity() <= bytes.len() + 64);
        }
    }
}

#[test]
fn malformed_input_is_refused_in_redis_words() {
    for (bytes, text) in [
        (&b"*1\r\n$x\r\n"[..], "invalid bulk length"),
        (b"*1\r\nx\r\n", "expected '$', got 'x'"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*3000000000\r\n", "invalid multibulk length"),
        (b"*99999999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
        (b"*1\r\n$18446744073709551616\r\n", "invalid bulk length"),
        (b"PING \"a\r\n", "unbalanced quotes in request"),
    ] {
        let error = decode(bytes).expect_err("malformed");
        assert_eq!(CommandError::from(error).text(), format!("ERR Protocol error: {text}"));
    }
}

#[test]
fn lines_without_an_end_are_refused() {
    let endless = |start: &[u8]| [start, &vec![b'1'; LINE_BYTES_MAX + 1][..]].concat();
    assert_eq!(decode(&endless(b"*")), Err(ProtocolError::ArgCountLine));
    assert_eq!(decode(&endless(b"*1\r\n$")), Err(ProtocolError::ArgLengthLine));
    assert_eq!(decode(&endless(b"a")), Err(ProtocolError::InlineTooLong));
}

#[test]
fn a_long_line_whose_end_has_arrived_is_taken() {
    let word = vec![b'a'; 2 * LINE_BYTES_MAX];
    let line = [&b"ECHO "[..], &word, b"\r\nPING\r\n"].concat();
    assert_eq!(
        decode(&line).unwrap(),
        [vec![Bytes::from_static(b"ECHO"), Bytes::from(word)], vec![Bytes::from_static(b"PING")]]
    );
    let digits = vec![b'1'; 2 * LINE_BYTES_MAX];
    assert_eq!(decode(&[b"*", &digits[..], b"\r\n"].concat()), Err(ProtocolError::InvalidArgCount));
    assert_eq!(decode(&[b"*1\r\n$", &digits[..], b"\r\n"].concat()), Err(ProtocolError::InvalidArgLength));
}

#[test]
fn empty_commands_are_skipped() {
    for bytes in [&b"\r\nPING\r\n"[..], b"*0\r\nPING\r\n", b"*-1\r\nPING\r\n", b"   \n*1\r\n$4\r\nPING\r\n"] {
        assert_eq!(decode(bytes).unwrap(), [[Bytes::from_static(b"PING")]]);
    }
}

#[test]
fn strangers_get_little() {
    let refused = |bytes: &[u8]| {
        let mut decoder = Decoder::new();
        decoder.push(bytes);
        decode_all(&mut decoder, Trust::Stranger).expect_err("refused")
    };
    assert_eq!(refused(b"*11\r\n"), ProtocolError::StrangerArgCount);
    assert_eq!(refused(b"*1\r\n$16385\r\n"), ProtocolError::StrangerArgLength);
    let mut decoder = Decoder::new();
    decoder.push(b"*10\r\n$16384\r\n");
    assert_eq!(decode_all(&mut decoder, Trust::Stranger), Ok(vec![]));
}

#[test]
fn a_declared_length_allocates_nothing() {
    let mut decoder = Decoder::new();
    decoder.push(format!("*{ARGS_DECLARED_MAX}\r\n${ARG_BYTES_MAX}\r\n").as_bytes());
    assert_eq!(decode_all(&mut decoder, Trust::Known), Ok(vec![]));
    assert!(decoder.buffer.capacity() < 1024);
    assert_eq!(decoder.spans.capacity(), 0);
}

#[test]
fn arguments_are_counted_as_they_arrive() {
    let mut decoder = Decoder::new();
    decoder.push(format!("*{}\r\n", ARGS_MAX + 1).as_bytes());
    let some = b"$0\r\n\r\n".repeat(ARGS_MAX / 64);
    for _ in 0..64 {
        decoder.push(&some);
        assert_eq!(decoder.next_command(Trust::Known), Ok(None));
    }
    decoder.push(b"$0\r\n\r\n");
    assert_eq!(decoder.next_command(Trust::Known), Err(ProtocolError::TooManyArgs));

    let command = [format!("*{ARGS_MAX}\r\n").as_bytes(), &some.repeat(64)].concat();
    assert_eq!(decode(&command).map(|commands| commands[0].len()), Ok(ARGS_MAX));
}

#[test]
fn a_command_is_bounded_as_a_whole() {
    let mut decoder = Decoder::new();
    decoder.push(b"*3\r\n");
    let chunk = vec![b'x'; ARG_BYTES_MAX];
    for _ in 0..2 {
        decoder.push(format!("${ARG_BYTES_MAX}\r\n").as_bytes());
        decoder.push(&chunk);
        decoder.push(b"\r\n");
        assert_eq!(decoder.next_command(Trust::Known), Ok(None));
    }
    decoder.push(format!("${ARG_BYTES_MAX}\r\n").as_bytes());
    assert_eq!(decoder.next_command(Trust::Known), Err(ProtocolError::CommandTooLong));
}

#[test]
fn decimals_are_strict() {
    assert_eq!(parse_decimal(b"0"), Some(0));
    assert_eq!(parse_decimal(b"-1"), Some(-1));
    assert_eq!(parse_decimal(b"9223372036854775807"), Some(i64::MAX));
    assert_eq!(parse_decimal(b"-9223372036854775808"), Some(i64::MIN));
    for bad in [&b""[..], b"-", b"-0", b"00", b"01", b"+1", b" 1", b"1 ", b"9223372036854775808", b"a"] {
        assert_eq!(parse_decimal(bad), None, "{bad:?}");
    }
}
