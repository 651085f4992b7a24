//! The proxies that are compared, and how each is started.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{bail, ensure};

use crate::rig;

/// A proxy that can be compared; the order is that of a round.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peer {
    /// What every ratio is taken to.
    Haproxy,
    /// nginx.
    Nginx,
    /// Caddy.
    Caddy,
    /// Ours.
    Cutover,
    /// A proxy that is not known here.
    Other {
        /// Its name in tables and JSON.
        name: String,
        /// What starts it, for a shell; words in braces are filled in.
        command: String,
    },
}

/// The words that are filled in: the configs in `peers/` may hold all of them, a command line too.
#[derive(Clone, Debug)]
pub(crate) struct Words(pub(crate) Vec<(&'static str, String)>);

impl Words {
    pub(crate) fn fill_in(&self, template: &str) -> String {
        self.0.iter().fold(template.to_owned(), |text, (word, value)| {
            text.replace(&format!("{{{word}}}"), value)
        })
    }
}

impl Peer {
    /// All that are known.
    pub const KNOWN: [Self; 4] = [Self::Haproxy, Self::Nginx, Self::Caddy, Self::Cutover];

    /// The name in tables and JSON.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Cutover => "cutover",
            Self::Other { name, .. } => name,
        }
    }

    /// The version that is installed, or the command line of a peer that is not known; `None` when
    /// the program is not installed.
    #[must_use]
    pub fn version(&self, cutover: &Path) -> Option<String> {
        let (program, argument) = match self {
            Self::Haproxy => (Path::new("haproxy"), "-v"),
            Self::Nginx => (Path::new("nginx"), "-v"),
            Self::Caddy => (Path::new("caddy"), "version"),
            Self::Cutover => (cutover, "--version"),
            Self::Other { command, .. } => return Some(format!("`{command}`")),
        };
        let output = Command::new(program).arg(argument).output().ok()?;
        // nginx says it on stderr.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let version = said
            .split(|c: char| c.is_whitespace() || c == '/')
            .find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()));
        Some(version.unwrap_or("?").to_owned())
    }

    /// Name and text of its config file, where it has one.
    pub(crate) fn config(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Haproxy => Some(("haproxy.cfg", include_str!("../peers/haproxy.cfg"))),
            Self::Nginx => Some(("nginx.conf", include_str!("../peers/nginx.conf"))),
            Self::Caddy => Some(("Caddyfile", include_str!("../peers/Caddyfile"))),
            Self::Cutover => Some(("cutover.toml", include_str!("../peers/cutover.toml"))),
            Self::Other { .. } => None,
        }
    }

    /// What starts it; its files are in `home`.
    pub(crate) fn command(&self, cutover: &Path, home: &Path, words: &Words) -> Command {
        let config = self.config().map_or_else(PathBuf::new, |(file, _)| home.join(file));
        match self {
            Self::Haproxy => {
                let mut command = rig::command("haproxy");
                command.arg("-db").arg("-f").arg(config);
                command
            }
            Self::Nginx => {
                let mut command = rig::command("nginx");
                command.arg("-p").arg(home).arg("-c").arg(config);
                command
            }
            Self::Caddy => {
                let mut command = rig::command("caddy");
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config);
                command.env("HOME", home);
                command
            }
            Self::Cutover => {
                let mut command = rig::command(cutover);
                command.args(["run", "--config"]).arg(config);
                command
            }
            Self::Other { command: line, .. } => {
                let mut command = rig::command("sh");
                command.arg("-c").arg(words.fill_in(line)).current_dir(home);
                command
            }
        }
    }
}

impl FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(typed: &str) -> anyhow::Result<Self> {
        let known = Self::KNOWN.into_iter().find(|peer| peer.name() == typed);
        if let Some(peer) = known {
            return Ok(peer);
        }
        let Some((name, command)) = typed.split_once('=') else {
            bail!("haproxy, nginx, caddy, cutover, or NAME='COMMAND LINE'");
        };
        let is_word =
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
        ensure!(is_word, "a name has letters, digits, `-`, `_` and `.`");
        ensure!(
            Self::KNOWN.iter().all(|peer| peer.name() != name),
            "{name} is known: it needs no command line"
        );
        ensure!(
            command.contains("{listen"),
            "the command line says nowhere {{listen}} or {{listen_port}}"
        );
        ensure!(
            command.contains("{upstream"),
            "the command line says nowhere {{upstream}} or {{upstream_port}}"
        );
        Ok(Self::Other { name: name.to_owned(), command: command.to_owned() })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_known_name_or_a_name_and_a_command_line() {
        assert_eq!("nginx".parse::<Peer>().unwrap(), Peer::Nginx);
        let command = "other --bind {listen} --to http://{upstream}/?a=b";
        let other = Peer::Other { name: "other".into(), command: command.into() };
        assert_eq!(format!("other={command}").parse::<Peer>().unwrap(), other);
        for wrong in
            ["other", "other=x {listen}", "=x {listen} {upstream}", "nginx={listen}{upstream}"]
        {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_in_braces_are_filled_in_and_other_braces_stay() {
        let words = Words(vec![("listen", "127.0.0.1:80".into()), ("listen_port", "80".into())]);
        let filled = words.fill_in("p {listen} -p{listen_port} {else} ${HOME}");
        assert_eq!(filled, "p 127.0.0.1:80 -p80 {else} ${HOME}");
    }
}
