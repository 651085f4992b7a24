//! The plays that are killed everywhere. Nothing dies in them by itself: then there is no moment in
//! which a service that is ready does not serve.

use std::time::Duration;

use super::client::Command;
use super::host::Layout;
use super::plays::{Act, Play};
use cutover_api::Target;

/// All of them.
pub(super) fn calm() -> Vec<Play> {
    let mut plays = releases();
    plays.extend(ways_back());
    plays.extend(several());
    plays
}

fn play(name: &'static str, services: &[(&'static str, Layout)], acts: &[(u64, Act)]) -> Play {
    Play {
        name,
        services: services.iter().map(|(service, layout)| (*service, *layout, "app:1")).collect(),
        both: Vec::new(),
        before: Vec::new(),
        acts: acts.to_vec(),
        grace: Duration::ZERO,
    }
}

fn deploy(services: &[&'static str], image: &'static str) -> Act {
    Act::Ask(Command::Deploy(services.to_vec(), image))
}

/// One release of one service.
fn releases() -> Vec<Play> {
    let web = |name, layout, image| play(name, &[("web", layout)], &[(0, deploy(&["web"], image))]);
    vec![
        web("a lone service", Layout::Lone(1), "app:2"),
        web("two of a lone service", Layout::Lone(2), "far:1"),
        web("a pair", Layout::Pair, "app:2"),
        web("half a pair", Layout::Half, "app:2"),
        web("by hand", Layout::ByHand, "app:2"),
        web("a release that dies", Layout::Pair, "dies:1"),
        web("a release that is never ready", Layout::Lone(1), "never:1"),
        Play {
            // For it to be noticed.
            grace: Duration::from_secs(4),
            ..web("a release that dies late", Layout::Pair, "late:1")
        },
        play("a release by itself", &[("web", Layout::Auto)], &[(0, Act::ScaleUp("web", "app:2"))]),
        Play { both: vec!["web"], ..web("both colors", Layout::Pair, "app:2") },
    ]
}

/// What follows a release.
fn ways_back() -> Vec<Play> {
    let then = |name, layout, after, act| {
        play(name, &[("web", layout)], &[(0, deploy(&["web"], "app:2")), (after, act)])
    };
    let abort = Act::Ask(Command::Abort("web"));
    let back = Act::Ask(Command::Rollback("web"));
    let flip = Act::Ask(Command::Flip("web", Target::Blue, false));
    vec![
        then("an abort while it is judged", Layout::Lone(1), 1_500, abort),
        then("a rollback to what is warm", Layout::Pair, 9_000, back),
        then("a flip back by hand", Layout::Pair, 4_000, flip),
        then("a deploy after a deploy", Layout::Lone(1), 5_000, deploy(&["web"], "app:3")),
    ]
}

/// Several services.
fn several() -> Vec<Play> {
    let services = [("web", Layout::Lone(1)), ("api", Layout::Pair)];
    let together = (0, deploy(&["web", "api"], "app:2"));
    let apart = [(0, deploy(&["web"], "app:2")), (300, deploy(&["api"], "app:3"))];
    let together = [together];
    vec![
        play("two services in one", &services, &together),
        play("two services at once", &services, &apart),
        Play { both: vec!["api"], ..play("both colors, and one beside", &services, &together) },
    ]
}
