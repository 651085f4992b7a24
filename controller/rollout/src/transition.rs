//! What an event does in a phase: one table, which the machine looks up and nothing else decides.
//!
#![doc = include_str!("../TRANSITIONS.md")]

use crate::event::EventKind;
use cutover_api::Phase;

/// What an event does in a phase.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reaction {
    /// Nothing: it comes too late, too early, or does not concern the phase.
    Ignore,
    /// The set it names owes no more answer; when none does, the next step begins.
    Answer,
    /// The next step begins.
    Next,
    /// The set it names has drained, though the rollout is not waiting for that yet.
    Drained,
    /// The table is live: the next step begins, or the way back if that was put off until now.
    Live,
    /// It is asked for again after a while: 1 s, 2 s, 4 s, 8 s, then every 10 s.
    Retry,
    /// The way back from this batch begins, with the reason that the event gives. Once a newer
    /// rollout has taken the place of the old containers there is none: then a handover ends it, one
    /// that was resumed asks again, and nothing else changes its course.
    Undo,
    /// The way back begins as soon as the table in flight has been answered for.
    UndoLater,
    /// Containers may be left behind for the janitor; the next step begins.
    GiveUp,
    /// Neither way can be finished: it ends as `failed`, and a human must look.
    Fail,
    /// It ends, and leaves the old containers to whoever made them serve.
    End,
    /// The old containers are not kept warm, and are no way back any more.
    Yield,
    /// What has not been answered is asked for again.
    Ask,
}

impl Reaction {
    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "",
            Self::Answer => "answer",
            Self::Next => "next",
            Self::Drained => "drained",
            Self::Live => "live",
            Self::Retry => "retry",
            Self::Undo => "undo",
            Self::UndoLater => "undo later",
            Self::GiveUp => "give up",
            Self::Fail => "fail",
            Self::End => "end",
            Self::Yield => "yield",
            Self::Ask => "ask",
        }
    }
}

/// What an event does in a phase.
#[must_use]
pub fn reaction(phase: Phase, event: EventKind) -> Reaction {
    let row = row(phase);
    // One entry per kind of event: the length of a row says so.
    row.get(event as usize).copied().unwrap_or(Reaction::Ignore)
}

/// A row of the table: the columns are those of [`EventKind::ALL`].
#[rustfmt::skip]
const fn row(phase: Phase) -> [Reaction; EventKind::ALL.len()] {
    use Reaction::*;
    const ____: Reaction = Ignore;
    match phase {
        //                   begin done    drained applied hiccup failed late    died       breach     abort      super- hand- resumed: flipped or not
        Phase::Plan        => [Next, ____,   ____,   ____, ____,  ____,  ____,   ____,      ____,      Undo,      ____,  ____, Undo,  Undo],
        Phase::Pull        => [____, Answer, ____,   ____, Retry, Undo,  Undo,   Undo,      Undo,      Undo,      ____,  ____, Undo,  Undo],
        Phase::TakeOut     => [____, ____,   Answer, ____, Retry, Undo,  Undo,   Undo,      Undo,      Undo,      ____,  ____, Undo,  Undo],
        Phase::Create      => [____, Answer, ____,   ____, Retry, Undo,  Undo,   Undo,      Undo,      Undo,      ____,  ____, Undo,  Undo],
        Phase::Start       => [____, Answer, ____,   ____, Retry, Undo,  Undo,   Undo,      Undo,      Undo,      ____,  ____, Undo,  Undo],
        Phase::Ready       => [____, Answer, ____,   ____, Retry, Undo,  Undo,   Undo,      Undo,      Undo,      ____,  ____, Undo,  Undo],
        Phase::Flip        => [____, ____,   ____,   Live, Retry, Undo,  Undo,   UndoLater, UndoLater, UndoLater, ____,  ____, Live,  Undo],
        Phase::Monitor     => [____, ____,   Drained,____, ____,  ____,  Next,   Undo,      Undo,      Undo,      ____,  Undo, Ask,   Undo],
        Phase::Drain       => [____, ____,   Answer, ____, Retry, Retry, ____,   Undo,      ____,      Undo,      Yield, Undo, Ask,   Undo],
        Phase::KeepWarm    => [____, ____,   ____,   ____, ____,  ____,  Next,   ____,      ____,      ____,      Next,  End,  Ask,   End],
        Phase::Stop        => [____, Answer, ____,   ____, Retry, Retry, GiveUp, ____,      ____,      ____,      ____,  ____, Ask,   Ask],
        Phase::Clean       => [____, Answer, ____,   ____, Retry, Retry, GiveUp, ____,      ____,      ____,      ____,  ____, Ask,   Ask],
        Phase::Revert      => [____, ____,   ____,   Next, Retry, Retry, Fail,   ____,      ____,      ____,      ____,  ____, Ask,   Ask],
        Phase::RevertDrain => [____, ____,   Answer, ____, Retry, Retry, ____,   ____,      ____,      ____,      ____,  ____, Ask,   Ask],
        Phase::Abandon     => [____, Answer, ____,   ____, Retry, Retry, GiveUp, ____,      ____,      ____,      ____,  ____, Ask,   Ask],
        Phase::PutBack     => [____, ____,   ____,   Next, Retry, Retry, Fail,   ____,      ____,      ____,      ____,  ____, Ask,   Ask],
        Phase::Ended       => [____; EventKind::ALL.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_documentation_is_the_one_in_use() {
        let mut text = String::from("| phase |");
        for event in EventKind::ALL {
            text.push_str(&format!(" {} |", event.as_str()));
        }
        text.push_str(&format!("\n|---|{}\n", "---|".repeat(EventKind::ALL.len())));
        for phase in Phase::ALL {
            text.push_str(&format!("| {phase} |"));
            for event in EventKind::ALL {
                text.push_str(&format!(" {} |", reaction(phase, event).as_str()));
            }
            text.push('\n');
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/TRANSITIONS.md");
        assert!(include_str!("../TRANSITIONS.md") == text, "{path} is to be:\n{text}");
    }

    #[test]
    fn columns_are_in_the_order_of_the_enum() {
        for (n, event) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, n, "{event:?}");
        }
    }

    #[test]
    fn whatever_may_have_changed_what_serves_can_be_undone_until_the_drain_is_over() {
        for phase in Phase::ALL {
            let undone = [Reaction::Undo, Reaction::UndoLater];
            let forward = !phase.is_undo() && phase.holds_lock() || phase == Phase::Drain;
            assert_eq!(undone.contains(&reaction(phase, EventKind::Abort)), forward, "{phase}");
        }
    }

    #[test]
    fn a_crash_is_answered_in_every_phase_but_the_last() {
        for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Ended) {
            for event in [EventKind::ResumedFlipped, EventKind::ResumedUnflipped] {
                assert_ne!(reaction(phase, event), Reaction::Ignore, "{phase}: {event:?}");
            }
        }
    }
}
