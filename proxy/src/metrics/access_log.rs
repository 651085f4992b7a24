//! The access log: workers hand over finished lines and never wait; one thread writes them.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

/// Where lines go.
#[derive(Debug, Default)]
pub enum Target {
    /// Appended to this file.
    File(File),
    /// Nowhere.
    #[default]
    Off,
    /// To standard output.
    Stdout,
}

/// The workers' end of the log.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    messages: SyncSender<Message>,
    enabled: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Target(Target),
}

impl Sender {
    /// Starts the writer's thread; it ends with the last sender.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start() -> io::Result<Self> {
        let (messages, inbox) = mpsc::sync_channel(QUEUE_LINES);
        thread::Builder::new().name("access-log".into()).spawn(move || write(&inbox))?;
        Ok(Self { messages, enabled: Arc::default() })
    }

    /// Whether lines are wanted at all.
    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Hands a line over, newline included; `false` when the writer is behind and it was dropped.
    pub(crate) fn send(&self, line: Vec<u8>) -> bool {
        self.messages.try_send(Message::Line(line)).is_ok()
    }

    /// Changes where lines go. Waits for room in the queue: not for workers.
    pub(crate) fn redirect(&self, target: Target) {
        self.enabled.store(!matches!(target, Target::Off), Ordering::Relaxed);
        if self.messages.send(Message::Target(target)).is_err() {
            tracing::error!("the access log's writer has ended");
        }
    }
}

/// Lines that may wait for the writer.
const QUEUE_LINES: usize = 8192;
/// Bytes after which the writer writes even though more lines are waiting.
const BATCH_BYTES: usize = 64 << 10;

fn write(inbox: &Receiver<Message>) {
    let mut target = Target::Off;
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    while let Ok(message) = inbox.recv() {
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Line(line) => batch.extend_from_slice(&line),
                Message::Target(new) => {
                    flush(&mut target, &mut batch);
                    target = new;
                }
            }
            if batch.len() >= BATCH_BYTES {
                flush(&mut target, &mut batch);
            }
            next = inbox.try_recv().ok();
        }
        flush(&mut target, &mut batch);
    }
}

fn flush(target: &mut Target, batch: &mut Vec<u8>) {
    let written = match target {
        Target::File(file) => file.write_all(batch),
        Target::Off => Ok(()),
        Target::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(batch).and_then(|()| stdout.flush())
        }
    };
    if let Err(error) = written {
        // Once per target: a full disk must not become a log storm.
        tracing::error!(%error, "the access log cannot be written; it is off until it is reopened");
        *target = Target::Off;
    }
    batch.clear();
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn lines_go_to_the_file_that_was_named_last() {
        let log = Sender::start().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
        assert!(!log.is_enabled());
        log.redirect(Target::File(File::create(&one).unwrap()));
        assert!(log.is_enabled());
        assert!(log.send(b"first\n".to_vec()));
        log.redirect(Target::File(File::create(&two).unwrap()));
        assert!(log.send(b"second\n".to_vec()));
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read(&two).unwrap() != b"second\n" {
            assert!(Instant::now() < deadline, "the second line never came");
            thread::yield_now();
        }
        assert_eq!(std::fs::read(&one).unwrap(), b"first\n");
    }
}
