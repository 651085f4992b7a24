//! Clients that ask once and then keep their connection.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::case::Load;
use crate::client::{Ask, Client, Outcome};

/// Clients that have been answered and say nothing more.
#[derive(Debug)]
pub struct Idle(Vec<Client>);

impl Idle {
    /// Opens as many connections as a load has, each for one request.
    ///
    /// # Errors
    /// Fails when one of them is refused or answered with anything but a 2xx.
    pub fn open(target: SocketAddr, load: &Load) -> anyhow::Result<Self> {
        let ask = Ask::new(&target.to_string(), load.path, load.body_bytes, false);
        let mut idle = Vec::with_capacity(load.connections);
        while idle.len() < load.connections {
            let batch = AT_ONCE.min(load.connections - idle.len());
            let asking =
                (0..batch).map(|_| begin(target, &ask)).collect::<anyhow::Result<Vec<_>>>()?;
            for (client, outcome) in asking {
                idle.push(
                    finish(client, outcome, &ask)
                        .with_context(|| format!("client {}", idle.len()))?,
                );
            }
        }
        Ok(Self(idle))
    }

    /// Fails unless the proxy still has all of them.
    ///
    /// # Errors
    /// Fails when it has closed one, or sent more to one.
    pub fn check(&self) -> anyhow::Result<()> {
        let is_quiet = |client: &&Client| {
            let stream = client.stream();
            let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0; 1]));
            peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        let quiet = self.0.iter().filter(is_quiet).count();
        ensure!(quiet == self.0.len(), "of {} idle clients, {quiet} are left", self.0.len());
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn begin(target: SocketAddr, ask: &Ask) -> anyhow::Result<(Client, Outcome)> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_nonblocking(true)?;
    let mut client = Client::new(stream);
    let outcome = client.drive(&ask.request, &mut [0; 4096]);
    Ok((client, outcome))
}

fn finish(mut client: Client, outcome: Outcome, ask: &Ask) -> anyhow::Result<Client> {
    let outcome = match outcome {
        Outcome::Waits => {
            client.stream().set_nonblocking(false)?;
            client.stream().set_read_timeout(Some(PATIENCE))?;
            client.drive(&ask.request, &mut [0; 4096])
        }
        Outcome::Answered | Outcome::Failed(_) => outcome,
    };
    ensure!(outcome == Outcome::Answered, "{outcome:?}");
    Ok(client)
}

/// Clients whose request is under way at one time.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);
