//! The rollout in a world of random answers, faults, deaths, orders and crashes.
//!
//! Every run comes from a seed that a failure prints; `CUTOVER_SEED=n cargo test -p cutover-rollout
//! --test simulation` plays that one alone and prints it, and `CUTOVER_RUNS=n` plays more of them.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod world;

use std::collections::BTreeMap;

use cutover_rollout::{Ending, Event, Origin, Phase, Strategy};

use self::world::World;
use self::world::random::number;

#[test]
fn no_interleaving_of_faults_and_crashes_breaks_an_invariant() {
    let runs = number("CUTOVER_RUNS").unwrap_or(12_000);
    let seeds = match number("CUTOVER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    };
    let mut endings = BTreeMap::new();
    let (mut crashes, mut failovers) = (0, 0);
    for seed in seeds {
        let world = World::play(seed);
        *endings.entry(format!("{:?}", world.endings.last())).or_insert(0) += 1;
        crashes += world.crashes;
        failovers += world.failovers;
    }
    println!("endings {endings:?}, {crashes} crashes, {failovers} failovers");
    if number("CUTOVER_SEED").is_none() {
        assert!(endings.len() >= 4, "the world is too kind or too cruel: {endings:?}");
        assert!(crashes > runs / 10, "hardly anything crashed");
        assert!(failovers > 0, "nothing failed over");
    }
}

#[test]
fn a_rollout_without_trouble_is_done_in_order() {
    let mut world = World::calm(7, &[Strategy::BlueGreen], Origin::Created);
    world.run();
    assert_eq!(world.endings, [Ending::Done]);
    use Phase::{
        Clean, Create, Drain, Flip, KeepWarm, Monitor, Plan, Pull, PutBack, Ready, Start, Stop,
        TakeOut,
    };
    let blue_green =
        [Plan, Pull, Create, Start, Ready, Flip, Monitor, Drain, KeepWarm, Stop, Clean];
    assert_eq!(world.phases(), blue_green);
    let mut world = World::calm(7, &[Strategy::Both, Strategy::BlueGreen], Origin::Created);
    world.run();
    assert_eq!(world.endings, [Ending::Done]);
    let half = [TakeOut, Create, Start, Ready, Flip, Monitor];
    let both =
        [&[Plan, Pull][..], &half, &half, &[Drain, Stop, Clean, KeepWarm, Stop, Clean]].concat();
    assert_eq!(world.phases(), both);
    assert!(!world.phases().contains(&PutBack));
}

#[test]
fn a_crash_before_the_flip_leaves_the_old_color_alone() {
    for phase in [Phase::Pull, Phase::Create, Phase::Start, Phase::Ready] {
        let mut world = World::calm(11, &[Strategy::BlueGreen], Origin::Created);
        world.run_until(|w| w.machine.phase() == phase);
        world.crash();
        world.run();
        assert_eq!(world.endings, [Ending::Refused], "crashed in {phase}");
    }
}

#[test]
fn a_crash_while_the_new_color_is_judged_goes_on_for_the_time_that_is_left() {
    let mut world = World::calm(12, &[Strategy::BlueGreen], Origin::Created);
    world.run_until(|w| w.machine.phase() == Phase::Monitor);
    let end = world.machine.deadline().expect("the judgement has an end");
    world.crash();
    world.run_until(|w| w.crashes == 1 && w.resumed);
    assert_eq!(world.machine.phase(), Phase::Monitor);
    assert_eq!(world.machine.deadline(), Some(end));
    world.run();
    assert_eq!(world.endings, [Ending::Done]);
}

#[test]
fn an_abort_is_a_refusal_before_the_flip_and_a_way_back_after_it_until_the_report() {
    let cases = [
        (Phase::Pull, Ending::Refused),
        (Phase::Ready, Ending::Refused),
        (Phase::Flip, Ending::RolledBack),
        (Phase::Monitor, Ending::RolledBack),
        (Phase::Drain, Ending::RolledBack),
        (Phase::KeepWarm, Ending::Done),
        (Phase::Stop, Ending::Done),
    ];
    for (phase, ending) in cases {
        for strategies in [&[Strategy::BlueGreen][..], &[Strategy::BlueGreen; 2]] {
            let mut world = World::calm(13, strategies, Origin::Created);
            world.run_until(|w| w.machine.phase() == phase);
            world.say(&Event::Abort { reason: "aborted by an operator".into() });
            world.run();
            assert_eq!(world.endings, [ending], "aborted in {phase}");
            let reason = world.reasons.last().unwrap().as_deref();
            let told = (ending != Ending::Done).then_some("aborted by an operator");
            assert_eq!(reason, told, "aborted in {phase}");
        }
    }
}

#[test]
fn where_both_colors_serve_a_failing_second_one_undoes_the_first_without_a_new_container() {
    let mut world = World::calm(14, &[Strategy::Both], Origin::Created);
    world.run_until(|w| w.machine.phase() == Phase::Ready && w.machine.step().batch == 1);
    let created = world.created;
    world.say(&Event::Abort { reason: "aborted by an operator".into() });
    world.run();
    assert_eq!(world.endings, [Ending::RolledBack]);
    assert_eq!(world.created, created);
}

#[test]
fn a_warm_color_makes_room_at_once_and_a_draining_one_is_not_kept_warm() {
    for phase in [Phase::Drain, Phase::KeepWarm] {
        let mut world = World::calm(15, &[Strategy::BlueGreen], Origin::Created);
        world.run_until(|w| w.machine.phase() == phase);
        let kept = world.phases().len();
        world.say(&Event::Supersede);
        // From now on there is no way back for this one.
        world.say(&Event::Abort { reason: "aborted by an operator".into() });
        world.run();
        assert_eq!(world.endings, [Ending::Done], "superseded in {phase}");
        let after = world.phases().split_off(kept);
        assert_eq!(after, [phase, Phase::Stop, Phase::Clean]);
    }
}

#[test]
fn an_engine_that_hiccups_refuses_no_rollout() {
    for (phase, fails) in
        [(Phase::Pull, 4), (Phase::Create, 4), (Phase::Start, 4), (Phase::Flip, 2)]
    {
        let mut world = World::calm(16, &[Strategy::BlueGreen], Origin::Created);
        world.run_until(|w| w.machine.phase() == phase);
        world.hiccups = fails;
        world.run();
        assert_eq!(world.hiccups, 0);
        assert_eq!(world.endings, [Ending::Done], "{fails} hiccups in {phase}");
    }
}

#[test]
fn an_engine_that_never_answers_refuses_a_rollout_with_its_last_words() {
    let mut world = World::calm(17, &[Strategy::BlueGreen], Origin::Created);
    world.run_until(|w| w.machine.phase() == Phase::Create);
    world.hiccups = u32::MAX;
    world.run_until(|w| w.machine.phase() != Phase::Create);
    world.hiccups = 0;
    world.run();
    assert_eq!(world.endings, [Ending::Refused]);
    let reason = world.reasons.last().unwrap().clone().unwrap();
    assert!(reason.contains("docker says no"), "{reason}");
}
