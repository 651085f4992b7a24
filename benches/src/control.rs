//! Flips over the control socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::client::field;
use crate::summary::{Spread, percentile};

/// The control socket of a Cutover that runs.
#[derive(Clone, Debug)]
pub struct Control(pub PathBuf);

/// What one flip took.
#[derive(Clone, Copy, Debug)]
pub struct Flip {
    /// From the call to its answer: then the table is live.
    pub call: Duration,
    /// The swap of the tables alone, as the answer tells.
    pub swap: Duration,
}

impl Control {
    /// Flips a service without a probe, on a connection of its own.
    ///
    /// # Errors
    /// Fails when the answer is none within ten seconds, or no flip.
    pub fn flip(&self, service: &str, to: &str) -> anyhow::Result<Flip> {
        #[derive(Deserialize)]
        struct Answer {
            flip_us: u64,
        }
        let path = format!("/v1/services/{service}/flip");
        let body = format!("{{\"to\":\"{to}\",\"force\":true}}");
        let start = Instant::now();
        let answer = post(&self.0, &path, &body).with_context(|| format!("flipping to {to}"))?;
        let call = start.elapsed();
        let answer: Answer = serde_json::from_str(&answer)?;
        Ok(Flip { call, swap: Duration::from_micros(answer.flip_us) })
    }
}

/// What many flips took, in milliseconds and microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct FlipTimes {
    /// How many there were.
    pub flips: usize,
    /// From the call to its answer.
    pub call_ms: Times,
    /// The swap alone.
    pub flip_us: Times,
}

/// A list of times.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Times {
    /// Middle and ends.
    #[serde(flatten)]
    pub spread: Spread,
    /// What one in a hundred exceeds.
    pub p99: f64,
}

impl FlipTimes {
    /// Of these flips.
    #[must_use]
    pub fn of(flips: &[Flip]) -> Self {
        let times = |of: fn(&Flip) -> f64| {
            let mut list: Vec<_> = flips.iter().map(of).collect();
            list.sort_unstable_by(f64::total_cmp);
            Times { spread: Spread::of(list.iter().copied()), p99: percentile(&list, 99) }
        };
        Self {
            flips: flips.len(),
            call_ms: times(|flip| flip.call.as_secs_f64() * 1e3),
            flip_us: times(|flip| flip.swap.as_secs_f64() * 1e6),
        }
    }
}

fn post(socket: &Path, path: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: cutover\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut part)?;
        answer.extend_from_slice(part.get(..n).unwrap_or_default());
        if let Some((head, body)) = whole(&answer) {
            let body = String::from_utf8_lossy(body).into_owned();
            if !head.starts_with(b"HTTP/1.1 200 ") {
                let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
                bail!("answered {}: {body}", line.escape_ascii());
            }
            return Ok(body);
        }
        ensure!(n > 0, "no whole answer");
    }
}

/// Head and body, once as much is there as the length says.
fn whole(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let (head, body) = answer.split_at_checked(end + 4)?;
    let length: usize = std::str::from_utf8(field(head, "content-length")?).ok()?.parse().ok()?;
    Some((head, body.get(..length)?))
}

const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What a flip returns when the socket answers like this.
    fn flip(answer: &'static str) -> anyhow::Result<Flip> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request[..n].to_vec()).unwrap()
        });
        let flipped = Control(socket).flip("web", "green");
        let request = server.join().unwrap();
        assert!(request.starts_with("POST /v1/services/web/flip HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"to\":\"green\",\"force\":true}"), "{request}");
        flipped
    }

    #[test]
    fn a_flip_tells_what_the_swap_took() {
        let done = flip("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"flip_us\":41}");
        assert_eq!(done.unwrap().swap, Duration::from_micros(41));
    }

    #[test]
    fn a_refused_flip_is_an_error_with_the_answer_in_it() {
        let refused =
            flip("HTTP/1.1 409 Conflict\r\ncontent-length: 12\r\n\r\n{\"error\":{}}").unwrap_err();
        assert_eq!(
            format!("{refused:#}"),
            "flipping to green: answered HTTP/1.1 409 Conflict: {\"error\":{}}"
        );
        assert!(flip("HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn times_are_told_in_milliseconds_and_microseconds() {
        let flips = [1, 3, 2].map(|ms| Flip {
            call: Duration::from_millis(ms),
            swap: Duration::from_micros(10 * ms),
        });
        let times = FlipTimes::of(&flips);
        assert_eq!(times.flips, 3);
        assert!((times.call_ms.spread.median - 2.0).abs() < 1e-9);
        assert!((times.flip_us.p99 - 30.0).abs() < 1e-9);
    }
}
