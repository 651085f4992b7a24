//! What the simulation has found, each as a play of its own.

use std::time::Duration;

use super::client::Command;
use super::everywhere::{judge, play};
use super::host::Layout;
use super::plays::{Act, Play};
use super::world::World;
use cutover_api::Target;

/// One service to which nothing happens.
fn empty(name: &'static str, layout: Layout) -> Play {
    Play {
        name,
        services: vec![("web", layout, "app:1")],
        both: Vec::new(),
        before: Vec::new(),
        acts: Vec::new(),
        grace: Duration::from_secs(6),
    }
}

/// One service and what happens to it, under several seeds.
fn tell(name: &'static str, layout: Layout, acts: &[(u64, Act)]) {
    let story = Play { acts: acts.to_vec(), ..empty(name, layout) };
    for seed in 0..8 {
        judge(&play(&story, [None, None], seed), &story, [None, None]);
    }
}

/// One service on which nothing has happened yet.
pub(super) fn stage(layout: Layout) -> World {
    empty("a stage", layout).stage(0)
}

fn deploy(image: &'static str) -> Act {
    Act::Ask(Command::Deploy(vec!["web"], image))
}

#[test]
fn a_container_that_starts_while_it_is_looked_at_is_looked_at_again() {
    let crash = || Act::Crash("web", true);
    tell("restarts", Layout::Half, &[(0, crash()), (3_000, crash()), (6_000, crash())]);
}

#[test]
fn a_deploy_while_the_one_before_it_drains_is_a_release_of_its_own() {
    for after in [2_400, 3_000, 3_600] {
        tell("two deploys", Layout::Lone(1), &[(0, deploy("app:2")), (after, deploy("app:3"))]);
    }
}

#[test]
fn both_colors_of_a_lone_service_get_containers_of_their_own() {
    let both = Act::Ask(Command::Flip("web", Target::Both, false));
    let acts = [(0, deploy("app:2")), (5_000, both), (6_000, deploy("app:3"))];
    tell("both of a lone service", Layout::Lone(1), &acts);
    tell("both by hand", Layout::ByHand, &acts);
}

#[test]
fn both_colors_do_not_serve_where_one_has_no_container() {
    let both = Act::Ask(Command::Flip("web", Target::Both, true));
    tell("both by force", Layout::Lone(1), &[(0, both)]);
}

#[test]
fn an_abort_while_both_colors_serve_says_that_both_do() {
    let both = Act::Ask(Command::Flip("web", Target::Both, false));
    let abort = Act::Ask(Command::Abort("web"));
    tell("abort of both", Layout::Pair, &[(0, both), (1_000, deploy("slow:1")), (4_000, abort)]);
}

#[test]
fn a_flip_by_force_to_where_nobody_listens_lasts_no_longer_than_the_failover_lets_it() {
    let flip = Act::Ask(Command::Flip("web", Target::Green, true));
    let acts = [(0, Act::ScaleUp("web", "never:1")), (500, flip)];
    tell("by force to nobody", Layout::Auto, &acts);
}

#[test]
fn an_abort_goes_back_to_a_container_that_has_ended_meanwhile() {
    let acts = vec![
        (0, deploy("app:2")),
        (1_000, Act::Crash("web", false)),
        (1_200, Act::Ask(Command::Abort("web"))),
    ];
    let story = Play { acts, ..empty("a way back that has ended", Layout::Lone(1)) };
    let told = play(&story, [None, None], 0);
    judge(&told, &story, [None, None]);
    assert!(told.tells("aborted: Blue"), "{}", told.story());
}

#[test]
fn an_abort_with_nothing_to_go_back_to_says_so_and_the_release_goes_on() {
    let acts = vec![
        (0, deploy("app:2")),
        (1_000, Act::Remove("web", false)),
        (1_200, Act::Ask(Command::Abort("web"))),
    ];
    let story = Play { acts, ..empty("no way back", Layout::Lone(1)) };
    let told = play(&story, [None, None], 0);
    judge(&told, &story, [None, None]);
    assert!(told.tells("no container left to go back to"), "{}", told.story());
    assert!(told.tells("web r2: done"), "{}", told.story());
}

#[test]
fn a_color_that_has_lost_its_containers_has_no_share_when_a_candidate_takes_their_place() {
    let both = Act::Ask(Command::Flip("web", Target::Both, false));
    let gone = Act::Remove("web", true);
    tell(
        "one of both is gone",
        Layout::Pair,
        &[(0, both), (1_000, gone), (4_000, deploy("bad:1"))],
    );
}

#[test]
fn where_the_color_that_serves_is_removed_or_ends_for_good_the_other_one_serves() {
    tell("the only one is removed", Layout::Pair, &[(1_000, Act::Remove("web", true))]);
    tell("the only one ends", Layout::Pair, &[(1_000, Act::Crash("web", true))]);
    let acts = [(0, deploy("app:2")), (9_000, Act::Remove("web", true))];
    tell("the new one is removed while the old one is warm", Layout::Pair, &acts);
}

#[test]
fn a_release_that_is_started_twice_is_one() {
    let scale_up = |image| Act::ScaleUp("web", image);
    let acts = [(0, scale_up("app:2")), (500, scale_up("never:1")), (9_000, scale_up("app:3"))];
    tell("started twice", Layout::Auto, &acts);
}

#[test]
fn a_client_is_gone_with_the_controller_and_waits_for_no_other_one() {
    let world = stage(Layout::Pair);
    let asked = Command::Deploy(vec!["web"], "app:2");
    world.live(Duration::ZERO, async |alive| {
        alive.until_all_serve().await;
        alive.ask(asked.clone());
        assert_eq!(alive.world.waiting(), std::slice::from_ref(&asked));
    });
    world.live(Duration::ZERO, async |alive| alive.rest().await);
    assert_eq!(world.violations(), [""; 0]);
}

#[test]
fn a_client_that_is_never_answered_is_noticed() {
    let world = stage(Layout::Pair);
    world.live(Duration::ZERO, async |alive| {
        alive.world.asked(Command::Abort("web"));
        alive.rest().await;
    });
    let noticed = "it does not come to rest: Abort(\"web\") is not answered";
    assert_eq!(world.violations(), [noticed]);
}

#[test]
fn a_flip_by_hand_may_have_been_done_though_nobody_was_told() {
    let flip = Act::Ask(Command::Flip("web", Target::Blue, false));
    let acts = vec![(0, deploy("app:2")), (4_000, flip)];
    let story = Play { acts, ..empty("a flip without an answer", Layout::Pair) };
    let places = play(&story, [None, None], 0).places_called("Apply");
    assert!(places.len() > 2, "{places:?}");
    for place in places {
        let kills = [Some(place), None];
        judge(&play(&story, kills, 0), &story, kills);
    }
}
