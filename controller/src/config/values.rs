//! One parser for each kind of value, the same for the file and for labels.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use cutover_proxy::table::BodyLimit;
use ipnet::IpNet;

use super::tree::{Node, Refusal, Value, nearest};
use super::{AccessLogOutput, Active, OnFailure};

/// What a parser makes of a value.
pub(crate) type Parsed<T> = Result<T, Refusal>;

/// Any text but the empty one.
pub(crate) fn text(node: &Node) -> Parsed<String> {
    match &node.value {
        Value::Text(text) | Value::Loose(text) if text.is_empty() => {
            Err(Refusal::new(node, "this may not be empty"))
        }
        Value::Text(text) | Value::Loose(text) => Ok(text.clone()),
        other => Err(Refusal::new(node, format!("expected a string, found {}", other.kind()))
            .hint("put it in quotes")),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node) -> Parsed<bool> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        Value::Loose(text) if text == "true" => Ok(true),
        Value::Loose(text) if text == "false" => Ok(false),
        Value::Loose(text) => Err(Refusal::new(node, format!("`{text}` is not true or false"))),
        other => Err(Refusal::new(node, format!("expected true or false, found {}", other.kind()))
            .hint("without quotes")),
    }
}

/// A whole number within `range`.
pub(crate) fn integer(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Parsed<u64> {
    move |node| {
        let value = match &node.value {
            Value::Integer(value) => u64::try_from(*value).ok(),
            Value::Loose(text) => match text.parse() {
                Ok(value) => Some(value),
                Err(_) => return Err(Refusal::new(node, format!("`{text}` is not a number"))),
            },
            other => {
                let message = format!("expected a number, found {}", other.kind());
                return Err(Refusal::new(node, message).hint("a whole number without quotes"));
            }
        };
        match value.filter(|value| range.contains(value)) {
            Some(value) => Ok(value),
            None if *range.end() == u64::MAX => {
                Err(Refusal::new(node, format!("this must be at least {}", range.start())))
            }
            None => {
                let message = format!("this must be from {} to {}", range.start(), range.end());
                Err(Refusal::new(node, message))
            }
        }
    }
}

/// A whole number within `range`, as `usize`.
pub(crate) fn count(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Parsed<usize> {
    move |node| {
        let value = integer(range.clone())(node)?;
        usize::try_from(value).map_err(|_| Refusal::new(node, "this number is too large"))
    }
}

/// A whole number within `range`, as `u32`.
pub(crate) fn small(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Parsed<u32> {
    move |node| {
        let value = integer(range.clone())(node)?;
        u32::try_from(value).map_err(|_| Refusal::new(node, "this number is too large"))
    }
}

/// A TCP port.
pub(crate) fn port(node: &Node) -> Parsed<Option<u16>> {
    let value = integer(1..=65_535)(node)?;
    Ok(u16::try_from(value).ok())
}

/// `"auto"`, which is `None`, or a whole number.
pub(crate) fn auto_or_count(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Parsed<Option<usize>> {
    move |node| match &node.value {
        Value::Text(word) | Value::Loose(word) if word == "auto" => Ok(None),
        Value::Text(word) => {
            Err(Refusal::new(node, format!("`{word}` is not \"auto\" or a number"))
                .hint("a number is written without quotes"))
        }
        _ => count(range.clone())(node).map(Some),
    }
}

/// A length of time, with its unit.
pub(crate) fn duration(node: &Node) -> Parsed<Duration> {
    const HINT: &str = "a duration has a unit: \"30s\", \"1m30s\", \"500ms\"";
    const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
    let text = match &node.value {
        Value::Text(text) | Value::Loose(text) => text,
        Value::Integer(number) => {
            let message = format!("expected a duration, found the number {number}");
            return Err(
                Refusal::new(node, message).hint(format!("\"{number}s\" is {number} seconds"))
            );
        }
        other => {
            let message = format!("expected a duration, found {}", other.kind());
            return Err(Refusal::new(node, message).hint(HINT));
        }
    };
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= YEAR => Ok(duration),
        Ok(_) => Err(Refusal::new(node, format!("`{text}` is longer than a year"))),
        Err(_) => Err(Refusal::new(node, format!("`{text}` is not a duration")).hint(HINT)),
    }
}

/// A length of time that is not zero.
pub(crate) fn some_time(node: &Node) -> Parsed<Duration> {
    match duration(node)? {
        Duration::ZERO => Err(Refusal::new(node, "this may not be zero")),
        duration => Ok(duration),
    }
}

/// A share of a whole in percent, given as a number from 0 to 1.
pub(crate) fn share(node: &Node) -> Parsed<f64> {
    const HINT: &str = "a share is in percent: \"1%\", \"0.5%\"";
    let typed = text(node).map_err(|refusal| refusal.hint(HINT))?;
    let percent = typed.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent {
        Some(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        Some(_) => Err(Refusal::new(node, "this must be from 0% to 100%")),
        None => Err(Refusal::new(node, format!("`{typed}` is not a share")).hint(HINT)),
    }
}

/// A size in bytes, with its unit.
pub(crate) fn size(node: &Node) -> Parsed<u64> {
    const HINT: &str = "a size is bytes, or has a unit: \"64KiB\", \"10MiB\", \"1GiB\"";
    let text = match &node.value {
        Value::Text(text) | Value::Loose(text) => text.trim(),
        Value::Integer(bytes) => {
            return u64::try_from(*bytes).map_err(|_| Refusal::new(node, "a size is not negative"));
        }
        other => {
            let message = format!("expected a size, found {}", other.kind());
            return Err(Refusal::new(node, message).hint(HINT));
        }
    };
    let refused = || Refusal::new(node, format!("`{text}` is not a size")).hint(HINT);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(refused)?;
    let number: u64 = number.parse().map_err(|_| refused())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "kb" => 1000,
        "m" | "mib" => 1 << 20,
        "mb" => 1_000_000,
        "g" | "gib" => 1 << 30,
        "gb" => 1_000_000_000,
        "t" | "tib" => 1 << 40,
        _ => return Err(refused()),
    };
    number.checked_mul(factor).ok_or_else(|| Refusal::new(node, format!("`{text}` is too large")))
}

/// A size within `range`, as `usize`.
pub(crate) fn size_within(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Parsed<usize> {
    move |node| {
        let bytes = size(node)?;
        if !range.contains(&bytes) {
            let message = format!("this must be from {} to {} bytes", range.start(), range.end());
            return Err(Refusal::new(node, message));
        }
        usize::try_from(bytes).map_err(|_| Refusal::new(node, "this size is too large"))
    }
}

/// A size, or `"unlimited"`.
pub(crate) fn body_limit(node: &Node) -> Parsed<BodyLimit> {
    match &node.value {
        Value::Text(word) | Value::Loose(word) if word == "unlimited" => Ok(BodyLimit::Unlimited),
        _ => size(node).map(BodyLimit::Bytes),
    }
}

/// A list of what `parse` takes; one alone needs no brackets.
pub(crate) fn list<T>(parse: impl Fn(&Node) -> Parsed<T>) -> impl Fn(&Node) -> Parsed<Vec<T>> {
    move |node| match &node.value {
        Value::List(items) => items.iter().map(&parse).collect(),
        Value::Loose(text) => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| parse(&Node { at: node.at.clone(), value: Value::Loose(item.to_owned()) }))
            .collect(),
        _ => Ok(vec![parse(node)?]),
    }
}

/// One of a few words.
pub(crate) fn word<T: Clone>(choices: &[(&'static str, T)]) -> impl Fn(&Node) -> Parsed<T> {
    move |node| {
        let typed = text(node)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == typed) {
            return Ok(value.clone());
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let hint = match nearest(&typed, &words) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of: {}", words.join(", ")),
        };
        Err(Refusal::new(node, format!("`{typed}` is not a value of this key")).hint(hint))
    }
}

/// A path of the file system.
pub(crate) fn file_path(node: &Node) -> Parsed<PathBuf> {
    text(node).map(PathBuf::from)
}

/// The path of a Unix socket, which the kernel limits.
pub(crate) fn socket_path(node: &Node) -> Parsed<PathBuf> {
    let path = text(node)?;
    if path.len() > 107 {
        return Err(Refusal::new(node, "the path of a Unix socket has at most 107 bytes"));
    }
    Ok(PathBuf::from(path))
}

/// An address to listen on.
pub(crate) fn socket_address(node: &Node) -> Parsed<SocketAddr> {
    let typed = text(node)?;
    typed.parse().map_err(|_| {
        let hint = match typed.strip_prefix(':').unwrap_or(&typed).parse::<u16>() {
            Ok(port) => format!("\"0.0.0.0:{port}\" listens on every IPv4 address"),
            Err(_) => "an IP address with a port: \"0.0.0.0:80\", \"[::]:80\"".to_owned(),
        };
        Refusal::new(node, format!("`{typed}` is not an address to listen on")).hint(hint)
    })
}

/// An address, or `"off"`, which is `None`.
pub(crate) fn socket_address_or_off(node: &Node) -> Parsed<Option<SocketAddr>> {
    match &node.value {
        Value::Text(word) | Value::Loose(word) if word == "off" => Ok(None),
        _ => socket_address(node).map(Some),
    }
}

/// A duration that is not zero, or `off`.
pub(crate) fn some_time_or_off(node: &Node) -> Parsed<Option<Duration>> {
    match &node.value {
        Value::Text(word) | Value::Loose(word) if word == "off" => Ok(None),
        _ => some_time(node).map(Some),
    }
}

/// A network, or one address.
pub(crate) fn network(node: &Node) -> Parsed<IpNet> {
    let typed = text(node)?;
    let net = typed.parse::<IpNet>().or_else(|_| typed.parse::<IpAddr>().map(IpNet::from));
    net.map_err(|_| {
        Refusal::new(node, format!("`{typed}` is not a network"))
            .hint("a CIDR or an address: \"10.0.0.0/8\", \"::1\"")
    })
}

/// What serves while the journal knows nothing.
pub(crate) fn active(node: &Node) -> Parsed<Active> {
    word(&[("blue", Active::Blue), ("green", Active::Green), ("both", Active::Both)])(node)
}

/// What becomes of a failed candidate.
pub(crate) fn on_failure(node: &Node) -> Parsed<OnFailure> {
    word(&[("keep", OnFailure::Keep), ("remove", OnFailure::Remove)])(node)
}

/// `off`, `stdout` or a path.
pub(crate) fn access_log(node: &Node) -> Parsed<AccessLogOutput> {
    match text(node)?.as_str() {
        "off" => Ok(AccessLogOutput::Off),
        "stdout" => Ok(AccessLogOutput::Stdout),
        path if path.contains('/') => Ok(AccessLogOutput::File(path.into())),
        word => Err(Refusal::new(node, format!("`{word}` is not an output"))
            .hint("\"off\", \"stdout\" or an absolute path")),
    }
}
