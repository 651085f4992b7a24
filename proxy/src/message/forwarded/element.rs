//! The `Forwarded` field of RFC 7239, read strictly.

use std::fmt;
use std::net::IpAddr;

use http::HeaderValue;

use super::hop::{MAX_HOPS, hop};

/// One hop: `for=192.0.2.60;proto=http;by=203.0.113.43`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Element {
    /// Lower-case names, each at most once, and unquoted values.
    pairs: Vec<(String, String)>,
}

impl Element {
    /// Every element of every line, in order; `None` if any is malformed or there are too many.
    pub(super) fn parse_all<'a>(
        lines: impl IntoIterator<Item = &'a HeaderValue>,
    ) -> Option<Vec<Self>> {
        let mut elements = Vec::new();
        for line in lines {
            let mut rest = line.to_str().ok()?;
            loop {
                let (element, after) = Self::parse(rest)?;
                elements.push(element);
                if elements.len() > MAX_HOPS {
                    return None;
                }
                match after.strip_prefix(',') {
                    Some(next) => rest = next,
                    None if after.is_empty() => break,
                    None => return None,
                }
            }
        }
        Some(elements)
    }

    /// Whom this hop got the request from, where it is an address (RFC 7239 §6).
    pub(super) fn client(&self) -> Option<IpAddr> {
        let (_, node) = self.pairs.iter().find(|(name, _)| name == "for")?;
        hop(node.as_bytes())
    }

    fn parse(text: &str) -> Option<(Self, &str)> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut rest = text.trim_start_matches(OWS);
        loop {
            let (name, after) = token(rest)?;
            let (value, after) = value(after.strip_prefix('=')?)?;
            let name = name.to_ascii_lowercase();
            // §4: each parameter MUST NOT occur more than once per element.
            if pairs.len() == MAX_PAIRS || pairs.iter().any(|(known, _)| *known == name) {
                return None;
            }
            pairs.push((name, value));
            match after.strip_prefix(';') {
                Some(next) => rest = next,
                None => return Some((Self { pairs }, after.trim_start_matches(OWS))),
            }
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.pairs.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator}{name}=")?;
            if !value.is_empty() && value.bytes().all(is_token_byte) {
                f.write_str(value)?;
            } else {
                let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
                write!(f, "\"{escaped}\"")?;
            }
        }
        Ok(())
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|b| !is_token_byte(b)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(token, _)| !token.is_empty())
}

/// A token or a quoted-string (RFC 9110 §5.6.4), unquoted.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(token, rest)| (token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            // `to_str` has let through only visible ASCII, space and tab.
            c => value.push(c),
        }
    }
    None
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

const OWS: [char; 2] = [' ', '\t'];

/// Pairs of an element; four parameters are registered (RFC 7239 §5), others are extensions.
const MAX_PAIRS: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<Vec<Element>> {
        Element::parse_all([&HeaderValue::from_str(text).unwrap()])
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let elements = parse("for=\"_gazonk\"").unwrap();
        assert_eq!(elements[0].client(), None);
        let elements = parse("For=\"[2001:db8:cafe::17]:4711\"").unwrap();
        assert_eq!(elements[0].client(), Some("2001:db8:cafe::17".parse().unwrap()));
        let elements = parse("for=192.0.2.60;proto=http;by=203.0.113.43").unwrap();
        assert_eq!(elements[0].to_string(), "for=192.0.2.60;proto=http;by=203.0.113.43");
        let elements = parse("for=192.0.2.43, for=198.51.100.17").unwrap();
        assert_eq!(elements.len(), 2);
        assert_eq!(elements[1].client(), Some("198.51.100.17".parse().unwrap()));
    }

    #[test]
    fn what_is_not_in_the_grammar_is_refused() {
        for text in [
            "",
            ",",
            "for",
            "for=",
            "=x",
            "for=a;",
            "for=a,",
            ",for=a",
            "for=a;;by=b",
            "for=a;for=b",
            "for=a;FOR=b",
            "for =a",
            "for= a",
            "for=\"a",
            "for=\"a\"b",
            "for=[::1]",
            "for=a b",
            "for=\"\\",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&vec!["for=a"; 33].join(",")), None);
    }

    #[test]
    fn an_element_has_no_more_pairs_than_anybody_needs() {
        let pairs = |count| (0..count).map(|n| format!("x{n}=1")).collect::<Vec<_>>().join(";");
        let most = pairs(16);
        assert_eq!(parse(&most).unwrap()[0].to_string(), most);
        assert_eq!(parse(&pairs(17)), None);
        assert_eq!(parse(&format!("for=a, {}", pairs(17))), None);
    }

    proptest! {
        #[test]
        fn printing_and_parsing_gives_the_same_elements(
            hops in prop::collection::vec(
                prop::collection::btree_map("[a-z!#~-]{1,8}", "[ -~\t]{0,16}", 1..5), 1..8)
        ) {
            let elements: Vec<Element> =
                hops.into_iter().map(|pairs| Element { pairs: pairs.into_iter().collect() }).collect();
            prop_assert_eq!(parse(&super::super::join(&elements)), Some(elements));
        }

        #[test]
        fn whatever_is_read_prints_to_what_reads_the_same(text in "[a-c=;,\" \\\\\\[\\]:.0-9]{0,40}") {
            if let Some(elements) = parse(&text) {
                prop_assert_eq!(parse(&super::super::join(&elements)), Some(elements));
            }
        }
    }
}
