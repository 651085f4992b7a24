//! What a running Cutover cannot change: its sockets, its processes, where its journal lies.

use std::mem;

use super::Config;

impl Config {
    /// Takes over from `live` what only a restart can change; gives the keys that differ.
    pub fn keep_bound(&mut self, live: &Self) -> Vec<String> {
        let live = live.clone();
        let (listen, bound) = (&mut self.listen, live.listen);
        let differs = [
            ("listen.http", mem::replace(&mut listen.http, bound.http) != listen.http),
            ("listen.admin", mem::replace(&mut listen.admin, bound.admin) != listen.admin),
            ("listen.control", mem::replace(&mut listen.control, bound.control) != listen.control),
            (
                "listen.control_gids",
                mem::replace(&mut listen.control_gids, bound.control_gids) != listen.control_gids,
            ),
            ("runtime", mem::replace(&mut self.runtime, live.runtime) != self.runtime),
            ("docker", mem::replace(&mut self.docker, live.docker) != self.docker),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.into()).collect()
    }
}
