//! One connection to a proxy: JSON lines over a Unix socket, and now and then a file. A simulation
//! puts a proxy in memory in its place.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::PathBuf;

use async_trait::async_trait;
use cutover_proxy::link::{FromProxy, MAX_MESSAGE_BYTES, ToProxy};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// Where a proxy is met.
#[async_trait]
pub(crate) trait Connect: std::fmt::Debug + Send + Sync {
    /// Connects to the proxy that is there now.
    ///
    /// # Errors
    /// When there is none.
    async fn connect(&self) -> io::Result<Box<dyn Connection>>;
}

/// Both directions of the link, one message at a time.
#[async_trait]
pub(crate) trait Connection: std::fmt::Debug + Send {
    /// Writes one message; `file` goes with its first byte.
    ///
    /// # Errors
    /// When the link is broken.
    async fn write(&mut self, message: &ToProxy, file: Option<&File>) -> io::Result<()>;

    /// Reads one message.
    ///
    /// # Errors
    /// When the link is broken, or what comes is no message.
    async fn read(&mut self) -> io::Result<FromProxy>;

    /// Waits until the other end goes, or says something nobody asked for.
    ///
    /// # Cancel safety
    /// Safe: what came ends the link.
    async fn closed(&mut self) -> io::Error;
}

/// The Unix socket of a proxy process.
#[derive(Debug)]
pub(crate) struct ProxySocket(pub PathBuf);

#[async_trait]
impl Connect for ProxySocket {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let stream = UnixStream::connect(&self.0).await?;
        Ok(Box::new(SocketConnection { stream, input: Vec::new() }))
    }
}

/// A link over a socket: one line is one message.
#[derive(Debug)]
struct SocketConnection {
    stream: UnixStream,
    /// What has come and is not yet a whole line.
    input: Vec<u8>,
}

#[async_trait]
impl Connection for SocketConnection {
    async fn write(&mut self, message: &ToProxy, file: Option<&File>) -> io::Result<()> {
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

    async fn read(&mut self) -> io::Result<FromProxy> {
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

    async fn closed(&mut self) -> io::Error {
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
