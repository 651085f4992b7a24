//! Networks, and who has which address.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// A bridge network. Its lowest free address is the next one's, as in Docker: addresses are another
/// container's as soon as they are free.
#[derive(Debug)]
pub(super) struct Network {
    subnet: u8,
    taken: BTreeSet<u8>,
}

impl Network {
    /// The nth network of the host.
    pub(super) fn new(nth: u8) -> Self {
        Self { subnet: nth, taken: BTreeSet::new() }
    }

    pub(super) fn take(&mut self) -> Option<IpAddr> {
        let free = (2..=254).find(|host| !self.taken.contains(host))?;
        self.taken.insert(free);
        Some(IpAddr::from(Ipv4Addr::new(172, 30, self.subnet, free)))
    }

    pub(super) fn free(&mut self, address: IpAddr) {
        if let IpAddr::V4(address) = address {
            self.taken.remove(&address.octets()[3]);
        }
    }
}
