//! Signals, as the engine's events and a container's settings name them.

/// A signal, by number (Linux on every architecture that Docker runs on but MIPS).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Signal(pub i32);

impl Signal {
    /// Sent by `docker stop` and `docker kill` unless something else is asked for.
    pub(crate) const KILL: Self = Self(9);
    /// What stops a container that names no signal of its own.
    pub(crate) const TERM: Self = Self(15);

    /// Reads a number or a name, with or without `SIG`, in any case; `RTMIN+3` and `RTMAX-2` too.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return (0..=RTMAX).contains(&number).then_some(Self(number));
        }
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let real_time = |base: i32, prefix: &str| {
            let offset = name.strip_prefix(prefix)?;
            let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
            Some(base + offset).filter(|number| (RTMIN..=RTMAX).contains(number)).map(Self)
        };
        let named = || NAMES.iter().find(|(known, _)| *known == name).map(|(_, n)| Self(*n));
        named().or_else(|| real_time(RTMIN, "RTMIN")).or_else(|| real_time(RTMAX, "RTMAX"))
    }

    /// Whether a process that gets it is meant to end: TERM, INT, KILL, and what stops this
    /// container. Servers take every other signal for something else.
    #[must_use]
    pub(crate) fn ends(self, stop_signal: Option<&str>) -> bool {
        const INT: Signal = Signal(2);
        let own = stop_signal.and_then(Self::parse);
        own == Some(self) || [Self::TERM, INT, Self::KILL].contains(&self)
    }
}

const RTMIN: i32 = 34;
const RTMAX: i32 = 64;
/// As in signal(7), with Docker's second names.
const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_term_int_kill_and_the_containers_own_stop_signal_end_it() {
        for (signal, stop, ends) in [
            ("15", None, true),
            ("TERM", Some("SIGQUIT"), true),
            ("SIGINT", None, true),
            ("SIGKILL", None, true),
            ("9", Some("SIGUSR1"), true),
            ("QUIT", None, false),
            ("3", Some("SIGQUIT"), true),
            ("1", None, false),
            ("SIGUSR1", None, false),
            ("10", Some("SIGUSR1"), true),
            ("28", Some("SIGWINCH"), true),
            ("TTIN", None, false),
            ("22", None, false),
            ("37", Some("SIGRTMIN+3"), true),
            ("37", None, false),
            ("0", None, false),
        ] {
            let parsed = Signal::parse(signal).unwrap();
            assert_eq!(parsed.ends(stop), ends, "{signal} with {stop:?}");
        }
    }

    #[test]
    fn every_name_that_docker_takes_is_read() {
        for (text, number) in [
            ("SIGTTIN", 21),
            ("ttou", 22),
            ("QUIT", 3),
            ("RTMIN", 34),
            ("SIGRTMIN+15", 49),
            ("RTMAX-14", 50),
            ("SIGRTMAX", 64),
            ("64", 64),
        ] {
            assert_eq!(Signal::parse(text), Some(Signal(number)), "{text}");
        }
        for text in ["SIGNONSENSE", "", "RTMIN+99", "RTMAX+1", "65", "-1", "RTMIN3x"] {
            assert_eq!(Signal::parse(text), None, "{text}");
        }
    }
}
