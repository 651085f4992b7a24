//! Many services on loopback, as sections of a config file.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

/// How many services there are, and how they are probed.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// Services, of one color each.
    pub services: usize,
    /// Endpoints of each.
    pub endpoints: usize,
    /// Between two probes of one endpoint.
    pub interval: Duration,
    /// Whether the first service has as many green endpoints, to be flipped to.
    pub flips: bool,
}

impl Fleet {
    /// Its services: `s0` with the host `s0.test`, and so on. Blue serves. Each endpoint has an
    /// address of its own, as containers have.
    ///
    /// # Errors
    /// Fails when there are more endpoints than addresses.
    pub fn sections(&self, upstream: u16) -> anyhow::Result<String> {
        let mut text = String::new();
        for service in 0..self.services {
            let endpoints = self.endpoints(service, upstream)?;
            write!(
                text,
                "[services.s{service}]\nhosts = [\"s{service}.test\"]\nactive = \"blue\"\nblue = [{endpoints}]\n"
            )?;
            if self.flips && service == 0 {
                writeln!(text, "green = [{}]", self.endpoints(self.services, upstream)?)?;
            }
            let interval = self.interval.as_millis();
            write!(
                text,
                "[services.s{service}.probe]\npath = \"/health\"\ninterval = \"{interval}ms\"\n"
            )?;
        }
        Ok(text)
    }

    /// The `nth` share of the addresses.
    fn endpoints(&self, nth: usize, upstream: u16) -> anyhow::Result<String> {
        let first = u32::from(Ipv4Addr::new(127, 1, 0, 0));
        let endpoints: Vec<String> = (0..self.endpoints)
            .map(|endpoint| u32::try_from(nth * self.endpoints + endpoint))
            .map(|at| Ok(format!("\"{}:{upstream}\"", Ipv4Addr::from(first + at?))))
            .collect::<anyhow::Result<_>>()?;
        Ok(endpoints.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_an_address_of_its_own() {
        let fleet =
            Fleet { services: 3, endpoints: 2, interval: Duration::from_secs(1), flips: true };
        let text = fleet.sections(80).unwrap();
        let colors: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("blue") || line.starts_with("green"))
            .collect();
        assert_eq!(
            colors,
            [
                "blue = [\"127.1.0.0:80\", \"127.1.0.1:80\"]",
                "green = [\"127.1.0.6:80\", \"127.1.0.7:80\"]",
                "blue = [\"127.1.0.2:80\", \"127.1.0.3:80\"]",
                "blue = [\"127.1.0.4:80\", \"127.1.0.5:80\"]",
            ]
        );
    }
}
