//! Each play is played once for every place that it passes, and killed there.
//!
//! That takes minutes: a run of all tests kills each play at some of its places, from its first to
//! its last. `CUTOVER_EVERY=1` kills at every single one.

use std::time::Duration;

use super::number;
use super::plays::Play;
use super::scenes::calm;
use super::world::World;

/// What came of a play.
pub(super) struct Played {
    world: World,
    /// The places that the controller passed before it was killed.
    places: Vec<String>,
}

impl Played {
    /// What happened, line by line.
    pub(super) fn story(&self) -> String {
        self.world.story().join("\n")
    }

    /// Whether anybody was told this.
    pub(super) fn tells(&self, what: &str) -> bool {
        self.story().contains(what)
    }

    /// The numbers of the places that are called so.
    pub(super) fn places_called(&self, start: &str) -> Vec<usize> {
        let numbered = self.places.iter().zip(1..);
        numbered.filter(|(place, _)| place.starts_with(start)).map(|(_, number)| number).collect()
    }
}

/// Plays with a kill at a place of the play and one of the recovery, where those are given.
pub(super) fn play(play: &Play, kills: [Option<usize>; 2], seed: u64) -> Played {
    let world = play.stage(seed);
    let [first, second] = kills;
    let mut places = Vec::new();
    let lived = world.live(Duration::ZERO, async |alive| {
        alive.begin(play).await;
        // Places count from here.
        world.points.reset();
        if let Some(place) = first {
            world.points.stop_at(place);
        }
        let agenda = play.agenda(&world);
        alive.follow(&agenda).await;
        alive.rest().await;
        places = world.points.places();
        alive.check();
        if first.is_none() {
            alive.check_deploy().await;
            alive.rest().await;
            alive.check();
        }
    });
    if lived.is_none() || first.is_some() {
        recover(&world, second);
    }
    Played { world, places }
}

/// Starts again, perhaps is killed again, and comes to rest.
fn recover(world: &World, kill: Option<usize>) {
    if let Some(place) = kill {
        world.points.stop_at(place);
        world.live(Duration::from_millis(100), async |alive| alive.rest().await);
    }
    world.live(Duration::from_millis(700), async |alive| {
        alive.rest().await;
        alive.check();
        alive.check_deploy().await;
        alive.rest().await;
        alive.check();
    });
}

/// Fails with all that is known of a play.
pub(super) fn judge(played: &Played, play: &Play, kills: [Option<usize>; 2]) {
    let violations = played.world.violations();
    assert!(
        violations.is_empty(),
        "{:?} killed at {kills:?}:\n{}\n{violations:#?}",
        play.name,
        played.story()
    );
}

/// The places at which a kill leaves something else behind than at the one before: a question that
/// follows a question leaves the same.
fn places(played: &Played) -> Vec<usize> {
    let asks = |place: &String| {
        ["Inspect", "List", "Version", "Image", "Blueprint", "Count", "LastWords", "RegistryHas"]
            .iter()
            .any(|ask| place.starts_with(ask))
    };
    let mut kept = Vec::new();
    let mut before = false;
    for (number, place) in played.places.iter().enumerate() {
        let asks = asks(place);
        if !(asks && before) {
            kept.push(number + 1);
        }
        before = asks;
    }
    kept
}

fn everywhere(wanted: impl Fn(&Play) -> bool) {
    let mut total = 0;
    for of in calm().iter().filter(|play| wanted(play)) {
        let whole = play(of, [None, None], SEED);
        judge(&whole, of, [None, None]);
        let all = places(&whole);
        let every =
            number("CUTOVER_EVERY").map_or_else(|| all.len().div_ceil(SHARE), |n| n as usize);
        let places: Vec<_> = all.iter().skip(every / 2).step_by(every).collect();
        for place in &places {
            let place = *place;
            let kills = [Some(*place), (place % 4 == 0).then_some(3 + place % 23)];
            judge(&play(of, kills, SEED), of, kills);
        }
        println!("{}: killed at {} of {} places", of.name, places.len(), whole.places.len());
        total += places.len();
    }
    assert!(total > 20, "hardly anything was killed: {total}");
}

#[test]
fn a_kill_anywhere_in_a_rollout_of_one_service_loses_nothing() {
    everywhere(|play| play.services.len() == 1 && play.both.is_empty());
}

#[test]
fn a_kill_anywhere_in_a_rollout_of_several_services_or_of_both_colors_loses_nothing() {
    everywhere(|play| play.services.len() > 1 || !play.both.is_empty());
}

#[test]
fn every_play_without_a_kill_ends_well() {
    for of in calm() {
        let played = play(&of, [None, None], SEED);
        judge(&played, &of, [None, None]);
    }
}

#[test]
fn the_same_seed_passes_the_same_places() {
    for of in calm() {
        let (once, again) = (play(&of, [None, None], SEED), play(&of, [None, None], SEED));
        assert_eq!(once.places, again.places, "{}", of.name);
        assert_eq!(once.world.story(), again.world.story(), "{}", of.name);
    }
}

const SEED: u64 = 7;
/// At so many places each play is killed, where nobody asks for more.
const SHARE: usize = 20;
