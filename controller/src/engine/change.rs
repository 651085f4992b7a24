//! What happens to containers, in two lanes.
//!
//! A [`Transition`] says all there is to know and asks for nothing: its lane is never full, so one
//! that ends is out of the table whatever else is being looked at. A [`Change`] asks for a look; where
//! looks are slower than changes, those left out become one [`Change::Everything`].

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{Signal, WorkloadId};

/// The changes of all containers. Dropping both lanes ends the watch.
#[derive(Debug)]
pub(crate) struct Changes {
    /// To be looked at.
    pub looks: mpsc::Receiver<Change>,
    /// To be believed at once, in order. Each is followed by a [`Change::Container`] in the other
    /// lane; a look that was begun before it may not have seen it.
    pub transitions: mpsc::UnboundedReceiver<(WorkloadId, Transition)>,
}

/// Something has happened that is worth a look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// Something about this container is not as it was: look at it.
    Container(WorkloadId),
    /// Something may have been missed: look at all of them.
    Everything,
    /// The engine does not answer. What was known may still be so.
    Gone(String),
}

/// What has happened to one container, as a fact.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Transition {
    /// Its process has ended, and so has its hold on its addresses.
    Ended,
    /// It has left this network, and its address there may be another's at once.
    Left(String),
    /// A signal was sent to it.
    Signalled(Signal),
    /// It has (re)started: whatever was sent to it before is over.
    Started,
}

/// An engine's end of [`Changes`].
#[derive(Clone, Debug)]
pub(super) struct ChangeSender {
    looks: mpsc::Sender<Change>,
    transitions: mpsc::UnboundedSender<(WorkloadId, Transition)>,
}

/// Nobody listens any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed;

impl ChangeSender {
    /// Both ends.
    pub(super) fn new() -> (Self, Changes) {
        let (looks, looked) = mpsc::channel(QUEUE);
        let (transitions, happened) = mpsc::unbounded_channel();
        let changes = Changes { looks: looked, transitions: happened };
        (Self { looks, transitions }, changes)
    }

    /// Waits until nobody listens any more.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn closed(&self) {
        self.looks.closed().await;
    }

    /// Tells a fact, and asks for a look.
    pub(super) fn happened(&self, id: WorkloadId, transition: Transition) -> Result<bool, Closed> {
        let looks = !matches!(transition, Transition::Signalled(_));
        self.transitions.send((id.clone(), transition)).map_err(|_| Closed)?;
        if looks { self.look(Change::Container(id)) } else { Ok(true) }
    }

    /// Asks for a look; `false` when there are too many to do already: ask for
    /// [`Change::Everything`] by [`ChangeSender::wait_to_look`] then.
    pub(super) fn look(&self, change: Change) -> Result<bool, Closed> {
        match self.looks.try_send(change) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Closed(_)) => Err(Closed),
        }
    }

    /// Asks for a look once there is room.
    ///
    /// # Cancel safety
    /// Safe: dropped, nothing was asked.
    pub(super) async fn wait_to_look(&self, change: Change) -> Result<(), Closed> {
        self.looks.send(change).await.map_err(|_| Closed)
    }
}

/// How many looks may wait.
const QUEUE: usize = 256;
