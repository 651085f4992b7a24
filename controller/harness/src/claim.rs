//! What a machine has once: ports and subnets, of which no two tests on it may take the same.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

/// A number that no other test on this machine has, whichever process and checkout it is of.
#[derive(Debug)]
struct Claim {
    number: u16,
    /// Its name is abstract: the kernel takes it back with the process, however that ends.
    _held: UnixListener,
}

impl Claim {
    /// The first of these that nobody has and that `is_free`.
    fn one_of(kind: &str, range: Range<u16>, is_free: impl Fn(u16) -> bool) -> Self {
        // Processes begin at different places, so that they seldom ask for the same.
        let length = usize::from(range.end - range.start);
        let begin = 37 * std::process::id() as usize % length;
        let claim = |number: u16| {
            let name = UnixAddress::from_abstract_name(format!("cutover-test-{kind}-{number}"));
            let held = UnixListener::bind_addr(&name.unwrap()).ok()?;
            is_free(number).then_some(Self { number, _held: held })
        };
        let mut numbers = range.clone().cycle().skip(begin).take(length);
        numbers.find_map(claim).expect("a number that nobody has")
    }
}

/// A TCP port of the loopback that nobody else is given; free again when dropped.
#[derive(Debug)]
pub struct Port(Claim);

impl Port {
    /// One at which nobody listens.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn claim() -> Self {
        // Below those that the kernel gives to clients and to who listens at port 0.
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        Self(Claim::one_of("port", 20_000..32_000, is_free))
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.0.number
    }

    /// It at the loopback's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number()).into()
    }
}

/// A subnet of 254 addresses that nobody else is given; free again when dropped.
#[derive(Debug)]
pub struct Subnet(Claim);

impl Subnet {
    /// One outside of what Docker takes by itself.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn claim() -> Self {
        Self(Claim::one_of("subnet", 0..25_000, |_| true))
    }

    /// One of its addresses.
    #[must_use]
    pub fn address(&self, host: u8) -> Ipv4Addr {
        let [high, low] = self.0.number.to_be_bytes();
        Ipv4Addr::new(10, 150 + high, low, host)
    }

    /// All of it, as `10.150.0.0/24`.
    #[must_use]
    pub fn cidr(&self) -> String {
        format!("{}/24", self.address(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_claimed_is_given_to_nobody_else_until_it_is_dropped() {
        let subnets: Vec<_> = (0..300).map(|_| Subnet::claim()).collect();
        let different: BTreeSet<_> = subnets.iter().map(Subnet::cidr).collect();
        assert_eq!(different.len(), 300);
        let ports = [Port::claim(), Port::claim()];
        assert_ne!(ports[0].number(), ports[1].number());
        let [first, _second] = ports;
        let number = first.number();
        drop(first);
        // Another test of this process may have been faster.
        assert!((0..50).any(|_| Port::claim().number() == number));
    }

    #[test]
    fn a_port_at_which_somebody_listens_is_not_given() {
        let port = Port::claim();
        let listener = TcpListener::bind(port.address()).unwrap();
        drop(port);
        let address = listener.local_addr().unwrap();
        let others: Vec<_> = (0..50).map(|_| Port::claim()).collect();
        assert!(others.iter().all(|other| other.address() != address));
    }
}
