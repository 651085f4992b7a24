//! Calls that go wrong, by script.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A kind of call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Call {
    Blueprint,
    Create,
    Image,
    Inspect,
    LastWords,
    List,
    Pull,
    RegistryHas,
    Remove,
    Rename,
    Start,
    Stop,
    Version,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It takes this much longer.
    Delay(Duration),
    /// The engine hangs up before it has done anything.
    Fail,
    /// The engine does it, and hangs up before its answer.
    FailAfter,
    /// The engine does not answer, and does nothing.
    Hang,
    /// The engine does it, and does not answer.
    HangAfter,
    /// The process of the container of this name ends at once, before the call.
    Kill(String),
    /// The engine says no.
    Refuse(u16, &'static str),
}

type Script = Box<dyn FnMut(Call, &str) -> Option<Fault> + Send>;

/// The script.
#[derive(Default)]
pub(super) struct Faults {
    script: Option<Script>,
    calls: BTreeMap<Call, usize>,
    nth: Vec<(Call, usize, Fault)>,
}

impl Faults {
    pub(super) fn script(&mut self, script: Script) {
        self.script = Some(script);
    }

    pub(super) fn nth(&mut self, call: Call, nth: usize, fault: Fault) {
        let made = self.calls.get(&call).copied().unwrap_or(0);
        self.nth.push((call, made + nth, fault));
    }

    /// What becomes of this call.
    pub(super) fn next(&mut self, call: Call, target: &str) -> Option<Fault> {
        let made = self.calls.entry(call).or_default();
        *made += 1;
        let due = |(c, n, _): &(Call, usize, Fault)| *c == call && n == made;
        if let Some(place) = self.nth.iter().position(due) {
            return Some(self.nth.remove(place).2);
        }
        self.script.as_mut().and_then(|script| script(call, target))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("calls", &self.calls).field("nth", &self.nth).finish()
    }
}

impl Call {
    /// As in the real engine's errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Blueprint | Self::Inspect => "inspect",
            Self::Create => "create",
            Self::Image => "inspect image",
            Self::LastWords => "logs",
            Self::List => "list",
            Self::Pull => "pull",
            Self::RegistryHas => "ask the registry",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Version => "version",
        }
    }

    /// Whether it changes anything.
    pub(super) fn changes(self) -> bool {
        matches!(
            self,
            Self::Create | Self::Pull | Self::Remove | Self::Rename | Self::Start | Self::Stop
        )
    }
}
