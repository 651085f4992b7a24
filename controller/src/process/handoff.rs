//! How the supervisor hands a child its sockets and gives orders: by the child's standard input.
//!
//! One packet is one [`Order`], with the file descriptors that belong to it. An order needs no
//! signal, so a supervisor without `CAP_KILL` still rules a proxy that runs as another user. The
//! end of it means that the supervisor is gone: the child ends at once.

pub(super) mod inherited;

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::millis::millis;

/// Descriptors in one packet; the kernel takes 253.
const MAX_FDS: usize = 200;
const MAX_BYTES: usize = 4096;

/// What the supervisor tells a child.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The status page's listener comes with this.
    Admin,
    /// The control socket's listener comes with this.
    Control,
    /// Finish what is in flight within this many milliseconds, then end.
    Drain(u64),
    /// Listeners of this address come with this, one for each worker.
    Http(SocketAddr),
    /// The link's listener comes with this.
    Link,
    /// Open the access log anew.
    ReopenLog,
    /// Say on `/readyz` that the end is near.
    Retire,
    /// All sockets are there.
    Start,
}

impl Order {
    /// Finish within `limit`.
    #[must_use]
    pub(crate) fn drain(limit: Duration) -> Self {
        Self::Drain(millis(limit))
    }
}

/// One end of the connection between the supervisor and a child.
#[derive(Debug)]
pub(crate) struct Handoff(OwnedFd);

impl Handoff {
    /// The supervisor's end, and the child's.
    ///
    /// # Errors
    /// No file descriptors are left.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(ours), theirs))
    }

    /// The end that this process was started with.
    ///
    /// # Errors
    /// Standard input is not one.
    pub(crate) fn from_stdin() -> io::Result<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::net::sockopt::socket_type(&stdin)?;
        Ok(Self(stdin))
    }

    /// Gives an order, with descriptors. Never blocks.
    ///
    /// # Errors
    /// The child is gone, or does not listen.
    pub(crate) fn send(&self, order: Order, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(&order)?;
        let mut chunks = fds.chunks(MAX_FDS);
        self.packet(&bytes, chunks.next().unwrap_or_default())?;
        chunks.try_for_each(|chunk| self.packet(&bytes, chunk))
    }

    /// Takes the next order; `None` once the supervisor is gone. Blocks.
    ///
    /// # Errors
    /// What came is not an order.
    pub(crate) fn receive(&self) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
        let mut bytes = [0; MAX_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let packet = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.0, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
            {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        let fds = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if packet.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::other("an order was cut off: too few file descriptors?"));
        }
        match bytes.get(..packet.bytes) {
            None | Some([]) => Ok(None),
            Some(order) => Ok(Some((serde_json::from_slice(order)?, fds))),
        }
    }

    /// The orders to come, read by a thread of their own; the channel ends with the handoff.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn orders(self) -> io::Result<mpsc::UnboundedReceiver<Order>> {
        let (sender, orders) = mpsc::unbounded_channel();
        let read = move || {
            while let Ok(Some((order, _))) = self.receive() {
                if sender.send(order).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("handoff".to_owned()).spawn(read)?;
        Ok(orders)
    }

    fn packet(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("too many file descriptors in one packet"));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, flags)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_listener_that_was_handed_over_still_accepts() {
        let (ours, theirs) = Handoff::pair().unwrap();
        let theirs = Handoff(theirs);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        ours.send(Order::Http(address), &[listener.as_fd()]).unwrap();
        ours.send(Order::Start, &[]).unwrap();
        drop(listener);

        let (order, mut fds) = theirs.receive().unwrap().unwrap();
        assert_eq!((order, fds.len()), (Order::Http(address), 1));
        let listener = TcpListener::from(fds.remove(0));
        let mut client = TcpStream::connect(address).unwrap();
        listener.accept().unwrap().0.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert_eq!(theirs.receive().unwrap().unwrap().0, Order::Start);
    }

    #[test]
    fn more_descriptors_than_a_packet_holds_come_in_several() {
        let (ours, theirs) = Handoff::pair().unwrap();
        let theirs = Handoff(theirs);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fds = vec![listener.as_fd(); MAX_FDS + 1];
        ours.send(Order::Link, &fds).unwrap();
        assert_eq!(theirs.receive().unwrap().unwrap().1.len(), MAX_FDS);
        assert_eq!(theirs.receive().unwrap().unwrap().1.len(), 1);
    }

    #[test]
    fn the_end_of_the_supervisor_ends_the_orders() {
        let (ours, theirs) = Handoff::pair().unwrap();
        let mut orders = Handoff(theirs).orders().unwrap();
        ours.send(Order::drain(Duration::from_secs(25)), &[]).unwrap();
        assert_eq!(orders.blocking_recv(), Some(Order::Drain(25_000)));
        drop(ours);
        assert_eq!(orders.blocking_recv(), None);
    }
}
