use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What a run of the decoder came to.
#[derive(Debug, Default, PartialEq)]
struct Run {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// `None` while more is wanted.
    end: Option<Result<(), Malformed>>,
    /// What lies behind the end.
    surplus: Vec<u8>,
}

/// Feeds `reads` one after the other.
fn run<'a>(framing: Framing, reads: impl IntoIterator<Item = &'a [u8]>) -> Run {
    let mut decoder = Decoder::new(framing);
    let mut input = BytesMut::new();
    let mut run = Run::default();
    for read in reads {
        input.extend_from_slice(read);
        while run.end.is_none() {
            match decoder.decode(&mut input) {
                Ok(Piece::Data(data)) => {
                    assert!(!data.is_empty());
                    run.data.extend_from_slice(&data);
                }
                Ok(Piece::Trailers(trailers)) => run.trailers = Some(trailers),
                Ok(Piece::End) => {
                    assert!(decoder.is_done() && decoder.may_end_here());
                    run.end = Some(Ok(()));
                }
                Ok(Piece::More) => break,
                Err(malformed) => run.end = Some(Err(malformed)),
            }
        }
    }
    if run.end == Some(Ok(())) {
        run.surplus = input.to_vec();
    }
    run
}

/// Cuts `bytes` at each of `cuts`, wherever that falls.
fn split<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn print(chunks: &[(Vec<u8>, String)], trailers: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (data, extension) in chunks.iter().filter(|(data, _)| !data.is_empty()) {
        out.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Bytes that a chunked body is made of, and some that it is not.
fn near_chunked() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"\r\n"[..]),
        Just(&b"\r"[..]),
        Just(&b"\n"[..]),
        Just(&b"0"[..]),
        Just(&b"2\r\nok\r\n"[..]),
        Just(&b"a"[..]),
        Just(&b"1"[..]),
        Just(&b";"[..]),
        Just(&b" "[..]),
        Just(&b"x: y\r\n"[..]),
        Just(&b"0\r\n\r\n"[..]),
        Just(&b"\0"[..]),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_of_a_printed_body_decodes_to_that_body(
        chunks in vec((vec(any::<u8>(), 0..300), "(|;[a-z]{1,5}(=[a-z]{1,5}|=\"[ -!#-~]{0,5}\")?| {1,3})"), 0..6),
        trailers in vec(("x-[a-z]{1,8}", "[a-z]{1,8}"), 0..4),
        surplus in vec(any::<u8>(), 0..5),
        cuts in vec(any::<usize>(), 0..20),
    ) {
        let mut raw = print(&chunks, &trailers);
        raw.extend_from_slice(&surplus);
        let run = run(Framing::Chunked, split(&raw, &cuts));
        let data: Vec<u8> = chunks.into_iter().flat_map(|(data, _)| data).collect();
        prop_assert_eq!(run.data, data);
        prop_assert_eq!(run.end, Some(Ok(())));
        prop_assert_eq!(run.surplus, surplus);
        let mut fields: Vec<(String, String)> = run
            .trailers
            .iter()
            .flatten()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let mut trailers = trailers;
        fields.sort();
        trailers.sort();
        prop_assert_eq!(fields, trailers);
    }

    #[test]
    fn the_split_never_decides_what_is_malformed(
        raw in near_chunked(),
        cuts in vec(any::<usize>(), 0..20),
    ) {
        let whole = run(Framing::Chunked, [&raw[..]]);
        let pieces = run(Framing::Chunked, split(&raw, &cuts));
        prop_assert_eq!(whole.end.map(|end| end.is_ok()), pieces.end.map(|end| end.is_ok()));
        prop_assert_eq!(whole.data, pieces.data);
        prop_assert_eq!(whole.surplus, pieces.surplus);
    }

    #[test]
    fn no_input_makes_it_fall(raw in vec(any::<u8>(), 0..400)) {
        run(Framing::Chunked, [&raw[..]]);
    }

    #[test]
    fn a_length_is_counted_off_exactly(
        raw in vec(any::<u8>(), 0..300),
        length in 0_u64..300,
        cuts in vec(any::<usize>(), 0..10),
    ) {
        let run = run(Framing::Length(length), split(&raw, &cuts));
        let length = usize::try_from(length).unwrap();
        prop_assert_eq!(&run.data[..], &raw[..length.min(raw.len())]);
        prop_assert_eq!(run.end.is_some(), length <= raw.len());
    }
}

#[test]
fn a_chunk_may_have_all_of_64_bits_and_no_more() {
    let most = run(Framing::Chunked, [&b"FFFFffffFFFFffff\r\nab"[..]]);
    assert_eq!((&most.data[..], most.end), (&b"ab"[..], None));
    let more = run(Framing::Chunked, [&b"0FFFFffffFFFFffff\r\nab"[..]]);
    assert!(matches!(more.end, Some(Err(_))));
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let long = format!("2;{}\r\nok\r\n0\r\n\r\n", "x".repeat(5000));
    assert!(matches!(run(Framing::Chunked, [long.as_bytes()]).end, Some(Err(_))));
    let padded = format!("2{}\r\nok\r\n0\r\n\r\n", " ".repeat(5000));
    assert!(matches!(run(Framing::Chunked, [padded.as_bytes()]).end, Some(Err(_))));
    let many = format!("0\r\n{}\r\n", "x: y\r\n".repeat(65));
    assert!(matches!(run(Framing::Chunked, [many.as_bytes()]).end, Some(Err(_))));
    // Not even all of it is needed to see that it is too much.
    let big = format!("0\r\nx: {}", "y".repeat(17_000));
    assert!(matches!(run(Framing::Chunked, [big.as_bytes()]).end, Some(Err(_))));
}

#[test]
fn the_end_of_the_connection_is_an_end_only_where_nothing_else_marks_it() {
    assert!(Decoder::new(Framing::UntilClose).may_end_here());
    assert!(!Decoder::new(Framing::Length(1)).may_end_here());
    assert!(!Decoder::new(Framing::Chunked).may_end_here());
    let mut decoder = Decoder::new(Framing::Chunked);
    let mut input = BytesMut::from(&b"2\r\nok\r\n0\r\n\r"[..]);
    while decoder.decode(&mut input) != Ok(Piece::More) {}
    assert!(!decoder.may_end_here(), "one byte is missing");
}

/// The section is searched for its end from where the last search ended.
#[test]
fn trailers_that_drip_are_not_parsed_anew_for_each_byte() {
    let mut decoder = Decoder::new(Framing::Chunked);
    let mut input = BytesMut::from("0\r\nX: ");
    assert_eq!(decoder.decode(&mut input).unwrap(), Piece::More);
    // Were it parsed, this would be refused.
    input.extend_from_slice(b"\0");
    assert_eq!(decoder.decode(&mut input).unwrap(), Piece::More);
    input.extend_from_slice(b"\r\n\r");
    assert_eq!(decoder.decode(&mut input).unwrap(), Piece::More);
    input.extend_from_slice(b"\n");
    assert!(decoder.decode(&mut input).is_err());
}
