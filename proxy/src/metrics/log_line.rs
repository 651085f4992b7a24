//! One line of the access log: JSON, ASCII only, whatever a client or upstream sent.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use crate::table::{Color, EndpointId, ServiceName};

/// What the access log says of a request.
#[derive(Debug)]
pub(crate) struct LogLine {
    pub(crate) request_id: String,
    pub(crate) client: IpAddr,
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) service: Option<ServiceName>,
    pub(crate) color: Option<Color>,
    pub(crate) endpoint: Option<EndpointId>,
    pub(crate) attempts: u32,
    pub(crate) upstream_time: Option<Duration>,
    pub(crate) reason: Option<&'static str>,
}

impl LogLine {
    /// The line, with its newline.
    pub(crate) fn render(&self, status: StatusCode, bytes: u64, took: Duration) -> Vec<u8> {
        let mut out = Line::new();
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        out.text("time", &now);
        out.text("request_id", &self.request_id);
        out.text("client", &self.client.to_string());
        out.text("method", self.method.as_str());
        out.text("host", &self.host);
        out.text("path", &self.path);
        out.number("status", status.as_str());
        out.number("bytes", itoa::Buffer::new().format(bytes));
        out.millis("duration_ms", took);
        if let Some(service) = &self.service {
            out.text("service", service.as_str());
        }
        if let Some(color) = self.color {
            out.text("color", color.as_str());
        }
        if let Some(endpoint) = &self.endpoint {
            out.text("endpoint", &endpoint.0);
        }
        if let Some(time) = self.upstream_time {
            out.millis("upstream_ms", time);
        }
        out.number("retries", itoa::Buffer::new().format(self.attempts.saturating_sub(1)));
        if let Some(reason) = self.reason {
            out.text("reason", reason);
        }
        out.finish()
    }
}

struct Line(Vec<u8>);

impl Line {
    fn new() -> Self {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        bytes.push(b'{');
        Self(bytes)
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn number(&mut self, key: &str, value: &str) {
        self.key(key);
        self.0.extend_from_slice(value.as_bytes());
    }

    /// Milliseconds with three decimals.
    fn millis(&mut self, key: &str, value: Duration) {
        let micros = value.as_micros();
        self.number(key, &format!("{}.{:03}", micros / 1000, micros % 1000));
    }

    /// Escapes everything that is not printable ASCII: no control character, bidirectional override
    /// or look-alike of a line end can reach the terminal of who reads the log.
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.0.push(b'"');
        for unit in value.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte @ (b'"' | b'\\')) => self.0.extend_from_slice(&[b'\\', byte]),
                Ok(byte @ b' '..=b'~') => self.0.push(byte),
                _ => self.0.extend_from_slice(format!("\\u{unit:04x}").as_bytes()),
            }
        }
        self.0.push(b'"');
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

const USUAL_BYTES: usize = 384;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> LogLine {
        LogLine {
            request_id: "id".into(),
            client: "192.0.2.1".parse().unwrap(),
            method: Method::GET,
            host: "a.test".into(),
            path: path.into(),
            service: Some("web".parse().unwrap()),
            color: Some(Color::Blue),
            endpoint: Some(EndpointId::from("c1")),
            attempts: 2,
            upstream_time: Some(Duration::from_micros(1500)),
            reason: None,
        }
    }

    #[test]
    fn a_line_is_one_json_object_with_the_documented_fields() {
        let bytes = line("/x?y=\"1\"").render(StatusCode::OK, 42, Duration::from_micros(2001));
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["path"], "/x?y=\"1\"");
        assert_eq!(value["status"], 200);
        assert_eq!(value["duration_ms"], 2.001);
        assert_eq!(value["upstream_ms"], 1.5);
        assert_eq!(value["retries"], 1);
        assert_eq!(value["color"], "blue");
        assert!(value.get("reason").is_none());
    }

    #[test]
    fn nothing_in_a_field_can_forge_a_line() {
        let forged = "/\r\n{\"status\":200}\u{1b}[2J\u{202e}\u{2028}\u{1f600}\u{7f}";
        let bytes = line(forged).render(StatusCode::OK, 0, Duration::ZERO);
        let (end, body) = bytes.split_last().unwrap();
        assert_eq!(*end, b'\n');
        assert!(body.iter().all(|byte| (b' '..=b'~').contains(byte)));
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["path"], forged);
    }
}
