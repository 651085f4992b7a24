//! One connection to a proxy: JSON lines, and now and then a file.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;

use cutover_proxy::link::{FromProxy, MAX_MESSAGE_BYTES, ToProxy};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// Both directions of the link, one line at a time.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    /// What has come and is not yet a whole line.
    input: Vec<u8>,
}

impl Wire {
    pub(super) async fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::connect(path).await?, input: Vec::new() })
    }

    /// Writes one message; `file` goes with its first byte.
    pub(super) async fn write(&mut self, message: &ToProxy, file: Option<&File>) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let mut rest = line.as_slice();
        if let Some(file) = file {
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || send_with_file(&self.stream, rest, file))
                .await?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        self.stream.write_all(rest).await
    }

    /// Reads one message.
    pub(super) async fn read(&mut self) -> io::Result<FromProxy> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.input.iter().skip(searched).position(|&b| b == b'\n') {
                let line: Vec<u8> = self.input.drain(..=searched + end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            searched = self.input.len();
            if searched > MAX_MESSAGE_BYTES {
                return Err(io::Error::other("an answer without end"));
            }
            self.input.reserve(16 << 10);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Waits until the other end goes, or says something nobody asked for.
    ///
    /// # Cancel safety
    /// Safe: a byte that was read ends the link.
    pub(super) async fn closed(&mut self) -> io::Error {
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => io::Error::other("an answer to no question"),
            Err(error) => error,
        }
    }
}

fn send_with_file(stream: &UnixStream, bytes: &[u8], file: &File) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&files));
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}
