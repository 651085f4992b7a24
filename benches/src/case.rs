//! What is asked of each proxy.

use std::str::FromStr;

use anyhow::anyhow;

/// One kind of request, and how many clients send it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The word for it on the command line and in JSON.
    pub name: &'static str,
    /// The words for it in the table.
    pub title: &'static str,
    /// The path; the upstream knows what to answer.
    pub path: &'static str,
    /// Bytes of a POST body; 0 sends a GET.
    pub body_bytes: usize,
    /// Clients at once, each with one connection.
    pub connections: usize,
    /// Whether each request has a connection of its own.
    pub close: bool,
}

/// Every case, in the order it is run.
pub const CASES: [Case; 4] = [
    Case {
        name: "get",
        title: "GET 1 KiB, keep-alive, 64 connections",
        path: "/1k",
        body_bytes: 0,
        connections: 64,
        close: false,
    },
    Case {
        name: "big",
        title: "GET 1 MiB, keep-alive, 16 connections",
        path: "/1m",
        body_bytes: 0,
        connections: 16,
        close: false,
    },
    Case {
        name: "post",
        title: "POST 64 KiB, keep-alive, 16 connections",
        path: "/post",
        body_bytes: 64 << 10,
        connections: 16,
        close: false,
    },
    Case {
        name: "new",
        title: "GET 1 KiB, new connection per request, 64 clients",
        path: "/1k",
        body_bytes: 0,
        connections: 64,
        close: true,
    },
];

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        CASES
            .into_iter()
            .find(|case| case.name == name)
            .ok_or_else(|| anyhow!("no case {name:?}: there are get, big, post and new"))
    }
}
