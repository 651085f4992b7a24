//! Whether something else of a service should serve. Pure: what is known in, a decision out.

use std::time::{Duration, SystemTime};

pub(crate) use cutover_api::FailoverReason as Reason;
use cutover_proxy::table::Color;

/// What is known of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Situation {
    /// An endpoint of a color that serves is up.
    pub up: bool,
    /// A color that serves has a container, whatever its state, or an endpoint of the config file.
    pub present: bool,
    /// Somebody has decided once what serves: until then it is what the config says, and containers
    /// that come one after the other are no failure.
    pub decided: bool,
    /// How long nothing has been up.
    pub down_for: Duration,
    /// `rollout.failover`; `None` is off.
    pub patience: Option<Duration>,
    /// A rollout has the lock: it is the first to act.
    pub locked: bool,
    /// What could serve instead.
    pub choices: Vec<Choice>,
}

/// What could serve: ready containers of one release and one color, or the endpoints that the config
/// file gives a color.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Choice {
    /// The color.
    pub color: Color,
    /// The key of the release; `None` for the config file's.
    pub release: Option<String>,
    /// The IDs of the containers.
    pub containers: Vec<String>,
    /// When the newest of them was created.
    pub created: SystemTime,
    /// Its color would serve it, had it a share.
    pub member: bool,
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// Nothing, until something changes.
    Stay,
    /// To look again after a while.
    Wait(Duration),
    /// This serves from now on.
    FailOver(Choice, Reason),
}

/// Decides. Members of the other color come before spares, newer releases before older ones.
#[must_use]
pub(crate) fn decide(situation: &Situation) -> Decision {
    if situation.up {
        return Decision::Stay;
    }
    let best = situation.choices.iter().max_by_key(|choice| (choice.member, choice.created));
    let Some(best) = best else { return Decision::Stay };
    let (reason, patience) = match (situation.present, situation.patience) {
        // Nothing can come back by itself.
        (false, _) if situation.decided && !situation.locked => {
            (Reason::NoContainer, Duration::ZERO)
        }
        (false, patience) => (Reason::NoContainer, patience.unwrap_or(SETTLE)),
        (true, Some(patience)) => (Reason::NotUp, patience),
        (true, None) => return Decision::Stay,
    };
    let patience = if situation.locked { patience + YIELD } else { patience };
    match patience.checked_sub(situation.down_for).filter(|left| !left.is_zero()) {
        Some(left) => Decision::Wait(left),
        None => Decision::FailOver(best.clone(), reason),
    }
}

/// For the containers of a new service to appear, where `rollout.failover` is off.
const SETTLE: Duration = Duration::from_secs(3);
/// How much longer than by `rollout.failover` a rollout has time to go back by itself.
const YIELD: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(color: Color, member: bool, age: u64) -> Choice {
        Choice {
            color,
            release: Some(format!("r{age}")),
            containers: vec![format!("c{age}")],
            created: SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age),
            member,
        }
    }

    /// Nothing is up since now, and green could serve.
    fn situation() -> Situation {
        Situation {
            up: false,
            present: true,
            decided: true,
            down_for: Duration::ZERO,
            patience: Some(Duration::from_secs(3)),
            locked: false,
            choices: vec![choice(Color::Green, true, 5)],
        }
    }

    fn to_green(reason: Reason) -> Decision {
        Decision::FailOver(choice(Color::Green, true, 5), reason)
    }

    #[test]
    fn what_serves_goes_on_and_where_nothing_else_is_ready_nothing_changes() {
        assert_eq!(decide(&Situation { up: true, present: false, ..situation() }), Decision::Stay);
        assert_eq!(
            decide(&Situation { choices: vec![], present: false, ..situation() }),
            Decision::Stay
        );
    }

    #[test]
    fn a_color_without_any_container_is_replaced_at_once() {
        let gone = Situation { present: false, ..situation() };
        assert_eq!(decide(&gone), to_green(Reason::NoContainer));
        let off = Situation { patience: None, ..gone };
        assert_eq!(decide(&off), to_green(Reason::NoContainer), "with failover off, too");
    }

    #[test]
    fn a_restart_is_waited_for() {
        let second = Duration::from_secs(1);
        assert_eq!(decide(&situation()), Decision::Wait(3 * second));
        let later = Situation { down_for: 2 * second, ..situation() };
        assert_eq!(decide(&later), Decision::Wait(second));
        let late = Situation { down_for: 3 * second, ..situation() };
        assert_eq!(decide(&late), to_green(Reason::NotUp));
        let off = Situation { patience: None, ..late };
        assert_eq!(decide(&off), Decision::Stay);
    }

    #[test]
    fn before_anything_was_decided_the_containers_of_a_service_have_time_to_come() {
        let fresh = Situation { decided: false, present: false, ..situation() };
        assert_eq!(decide(&fresh), Decision::Wait(Duration::from_secs(3)));
        let off = Situation { patience: None, ..fresh.clone() };
        assert_eq!(decide(&off), Decision::Wait(Duration::from_secs(3)));
        let late = Situation { down_for: Duration::from_secs(3), ..fresh };
        assert_eq!(decide(&late), to_green(Reason::NoContainer));
    }

    #[test]
    fn a_rollout_that_has_the_lock_acts_first() {
        let locked = Situation { locked: true, down_for: Duration::from_secs(3), ..situation() };
        assert_eq!(decide(&locked), Decision::Wait(Duration::from_secs(2)));
        let gone = Situation { present: false, ..locked };
        assert_eq!(decide(&gone), Decision::Wait(Duration::from_secs(2)));
    }

    #[test]
    fn members_come_before_spares_and_newer_ones_before_older_ones() {
        let choices = vec![
            choice(Color::Blue, false, 1),
            choice(Color::Green, true, 9),
            choice(Color::Green, false, 2),
        ];
        let first = |choices| match decide(&Situation { present: false, choices, ..situation() }) {
            Decision::FailOver(choice, _) => choice.containers,
            other => panic!("{other:?}"),
        };
        assert_eq!(first(choices.clone()), ["c9"]);
        assert_eq!(first(vec![choices[2].clone(), choices[0].clone()]), ["c1"]);
    }
}
