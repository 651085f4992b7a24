//! What rollouts tell while they run.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use serde_json::Value;

use crate::PATIENCE;

/// The phases that the rollouts of one service go through.
#[derive(Debug)]
pub struct PhaseWatch(mpsc::Receiver<String>);

impl PhaseWatch {
    /// Begins to follow the events of a control socket.
    pub(crate) fn begin(socket: &Path, service: &str) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: cutover\r\n\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        // The head comes once the watch stands.
        while lines.next().unwrap().unwrap() != "" {}
        let (sender, phases) = mpsc::channel();
        let service = service.to_owned();
        std::thread::spawn(move || {
            for line in lines {
                let Ok(line) = line else { return };
                let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
                let detail = &event["detail"];
                let ours = event["service"] == service.as_str() && detail["event"] == "phase";
                let phase = detail["phase"].as_str().filter(|_| ours);
                if phase.is_some_and(|phase| sender.send(phase.to_owned()).is_err()) {
                    return;
                }
            }
        });
        Self(phases)
    }

    /// Waits for a phase.
    ///
    /// # Panics
    /// When it is not entered within a minute.
    pub fn until(&self, phase: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.0.recv_timeout(left) {
                Ok(seen) if seen == phase => return,
                Ok(_) => {}
                Err(error) => panic!("{phase} was not entered: {error}"),
            }
        }
    }
}
