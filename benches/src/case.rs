//! What is asked of each proxy.

use std::str::FromStr;

use anyhow::anyhow;

/// One kind of load, and what is measured under it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The word for it on the command line and in JSON.
    pub name: &'static str,
    /// The words for it in the table.
    pub title: &'static str,
    /// What the clients send.
    pub load: Load,
    /// What is measured, of whom.
    pub measure: Measure,
}

/// What the clients send, and how many there are.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The path; the upstream knows what to answer.
    pub path: &'static str,
    /// The host, where it is not the proxy's address.
    pub host: Option<&'static str>,
    /// Bytes of a POST body; 0 sends a GET.
    pub body_bytes: usize,
    /// Clients at once, each with one connection.
    pub connections: usize,
    /// Whether each request has a connection of its own.
    pub close: bool,
    /// Requests of all clients in a second; each client sends its next one at once without it.
    pub per_second: Option<u32>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Measure {
    /// Processor time per request, of each proxy.
    Cpu,
    /// Processor time per request, of Cutover with many services and of Cutover with one; and what
    /// a flip takes in both.
    Fleet,
    /// Memory per idle client, of each proxy.
    Memory,
    /// Requests in a second, of Cutover with two workers and of Cutover with one.
    Workers,
}

impl Measure {
    /// What the column `ratio` divides.
    #[must_use]
    pub fn ratio_of(self) -> &'static str {
        match self {
            Self::Cpu => "CPU per request, to HAProxy",
            Self::Fleet => "CPU per request, to one service",
            Self::Memory => "memory per idle client, to HAProxy",
            Self::Workers => "throughput, to one worker",
        }
    }
}

const GET: Load = Load {
    path: "/1k",
    host: None,
    body_bytes: 0,
    connections: 64,
    close: false,
    per_second: None,
};

/// Every case, in the order it is run.
pub const CASES: [Case; 8] = [
    Case {
        name: "get",
        title: "GET 1 KiB, keep-alive, 64 connections",
        load: GET,
        measure: Measure::Cpu,
    },
    Case {
        name: "big",
        title: "GET 1 MiB, keep-alive, 16 connections",
        load: Load { path: "/1m", connections: 16, ..GET },
        measure: Measure::Cpu,
    },
    Case {
        name: "post",
        title: "POST 64 KiB, keep-alive, 16 connections",
        load: Load { path: "/post", body_bytes: 64 << 10, connections: 16, ..GET },
        measure: Measure::Cpu,
    },
    Case {
        name: "new",
        title: "GET 1 KiB, new connection per request, 64 clients",
        load: Load { close: true, ..GET },
        measure: Measure::Cpu,
    },
    Case {
        name: "rate",
        title: "GET 1 KiB, keep-alive, 32 connections, 4,000 requests/s",
        load: Load { connections: 32, per_second: Some(4000), ..GET },
        measure: Measure::Cpu,
    },
    Case {
        name: "idle",
        title: "5,000 idle kept-alive clients, after one GET each",
        load: Load { connections: 5000, ..GET },
        measure: Measure::Memory,
    },
    Case {
        name: "fleet",
        title: "GET 1 KiB, keep-alive, 64 connections, to one service of 10 endpoints, alone or among 1,000",
        load: Load { host: Some("s0.test"), ..GET },
        measure: Measure::Fleet,
    },
    Case {
        name: "workers",
        title: "GET 1 KiB, keep-alive, 64 connections, one worker or two, nothing pinned",
        load: GET,
        measure: Measure::Workers,
    },
];

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        CASES.into_iter().find(|case| case.name == name).ok_or_else(|| {
            let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
            anyhow!("no case {name:?}: there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_found_by_its_name() {
        for case in CASES {
            assert_eq!(case.name.parse::<Case>().unwrap().title, case.title);
        }
        assert!("none".parse::<Case>().unwrap_err().to_string().contains("there are get, big"));
    }
}
