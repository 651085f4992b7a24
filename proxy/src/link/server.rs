//! The proxy's end of the link: reads the controller's messages and answers them.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};

use super::message::{AccessLog, FromProxy, MAX_MESSAGE_BYTES, ToProxy};
use crate::metrics::access_log::Target;
use crate::proxy::Handle;

/// Serves controllers, one at a time; a new one takes over from the one before, which may be dead
/// without having said so.
///
/// # Errors
/// When the listener cannot be used at all. A broken link only ends that link.
///
/// # Cancel safety
/// Dropping the future closes the link and leaves the proxy with its last table.
pub async fn serve_link(listener: StdUnixListener, handle: Handle) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let (mut stream, _) = listener.accept().await?;
    loop {
        let mut link =
            Link { stream, inbox: Vec::new(), buffer: vec![0; READ_BYTES].into(), file: None };
        stream = tokio::select! {
            ended = link.serve(&handle) => {
                match ended {
                    Ok(()) => tracing::debug!("the controller has closed the link"),
                    Err(error) => tracing::warn!(%error, "the link to the controller broke"),
                }
                listener.accept().await?.0
            }
            next = listener.accept() => next?.0,
        };
    }
}

struct Link {
    stream: UnixStream,
    inbox: Vec<u8>,
    buffer: Box<[u8]>,
    /// The file that came with bytes of the inbox.
    file: Option<OwnedFd>,
}

impl Link {
    async fn serve(&mut self, handle: &Handle) -> io::Result<()> {
        self.send(&FromProxy::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            generation: handle.generation(),
        })
        .await?;
        while let Some(line) = self.line().await? {
            let answer = match serde_json::from_slice(&line) {
                Ok(message) => self.carry_out(message, handle),
                Err(error) => FromProxy::Refused { message: error.to_string() },
            };
            self.send(&answer).await?;
        }
        Ok(())
    }

    fn carry_out(&mut self, message: ToProxy, handle: &Handle) -> FromProxy {
        match message {
            ToProxy::Apply(table) => match handle.apply(*table) {
                Ok(applied) => FromProxy::Applied {
                    generation: applied.generation,
                    swap_ns: u64::try_from(applied.swap.as_nanos()).unwrap_or(u64::MAX),
                },
                Err(error) => FromProxy::Refused { message: error.to_string() },
            },
            ToProxy::Snapshot => FromProxy::Snapshot(Box::new(handle.snapshot())),
            ToProxy::Hangup { service, color, before, what } => {
                handle.hang_up(&service, color, before, what);
                FromProxy::Done
            }
            ToProxy::AccessLog(output) => {
                let target = match (output, self.file.take()) {
                    (AccessLog::File, Some(file)) => Target::File(File::from(file)),
                    (AccessLog::File, None) => {
                        return FromProxy::Refused { message: "no file came along".into() };
                    }
                    (AccessLog::Off, _) => Target::Off,
                    (AccessLog::Stdout, _) => Target::Stdout,
                };
                handle.log_to(target);
                FromProxy::Done
            }
        }
    }

    async fn send(&mut self, message: &FromProxy) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.stream.write_all(&line).await
    }

    /// The next line without its end, or `None` once the controller has closed.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            let fresh = self.inbox.get(seen..).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', fresh) {
                let rest = self.inbox.split_off(seen + end + 1);
                let mut line = std::mem::replace(&mut self.inbox, rest);
                line.pop();
                return Ok(Some(line));
            }
            seen = self.inbox.len();
            if seen > MAX_MESSAGE_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the message has no end"));
            }
            if self.receive().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads some bytes, and the file that came with them.
    async fn receive(&mut self) -> io::Result<usize> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let (count, file) = self
            .stream
            .async_io(Interest::READABLE, || {
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let message = recvmsg(
                    &self.stream,
                    &mut [IoSliceMut::new(&mut self.buffer)],
                    &mut ancillary,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                let mut file = None;
                for control in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(files) = control {
                        file = files.last().or(file);
                    }
                }
                Ok((message.bytes, file))
            })
            .await?;
        self.inbox.extend_from_slice(self.buffer.get(..count).unwrap_or_default());
        if file.is_some() {
            self.file = file;
        }
        Ok(count)
    }
}

const READ_BYTES: usize = 16 << 10;
