use cutover_api::{ConfigStatus, Target, Weights};
use tokio::time::Instant;

use super::*;
use crate::config::{Config, StaticEndpoint};
use crate::engine::{Container, Wellness};
use crate::state::classify::tests::container;
use crate::state::journal::Journal;
use crate::state::service::ServiceState;

fn fixed(host: &str) -> StaticEndpoint {
    StaticEndpoint { host: host.into(), port: 8000, weight: 1 }
}

fn web(blue: &[&str], green: &[&str]) -> Config {
    let service = ServiceConfig {
        blue: blue.iter().map(|host| fixed(host)).collect(),
        green: green.iter().map(|host| fixed(host)).collect(),
        ..ServiceConfig::default()
    };
    Config { services: [("web".parse().unwrap(), service)].into(), ..Config::default() }
}

fn state(config: Config, weights: Option<Weights>) -> State {
    let mut state = Journal::default();
    let mut service = ServiceState::default();
    service.weights = weights;
    state.services.insert("web".parse().unwrap(), service);
    State::new(config, ConfigStatus::default(), state)
}

/// What the engine shows, all there is.
fn see(state: &mut State, container: Container) {
    state.listed(vec![container], &[], None, 0);
    state.reclassify(Instant::now());
}

/// Color, share, and endpoints with their state.
type Pool = (Color, u32, Vec<(String, bool)>);

fn pools(state: &State) -> Vec<Pool> {
    let table = build(state);
    let [service] = table.services.as_slice() else { panic!("one service") };
    let pool = |pool: &PoolSpec| {
        let endpoints = pool.endpoints.iter().map(|e| (e.id.to_string(), e.up)).collect();
        (pool.color, pool.weight, endpoints)
    };
    service.pools.iter().map(pool).collect()
}

#[test]
fn only_a_color_with_a_share_is_in_the_table() {
    let state = state(web(&["10.0.0.1"], &["10.0.0.2"]), Some(Weights::of(Target::Green)));
    assert_eq!(pools(&state), [(Color::Green, 100, vec![("10.0.0.2:8000".into(), true)])]);
}

#[test]
fn where_nothing_is_known_the_config_decides_and_else_the_color_that_exists() {
    assert_eq!(pools(&state(web(&["10.0.0.1"], &["10.0.0.2"]), None))[0].0, Color::Blue);
    assert_eq!(pools(&state(web(&[], &["10.0.0.2"]), None))[0].0, Color::Green);
}

#[test]
fn the_journal_wins_even_over_a_color_without_endpoints() {
    let state = state(web(&[], &["10.0.0.2"]), Some(Weights::of(Target::Blue)));
    assert_eq!(pools(&state), [(Color::Blue, 100, vec![])]);
}

#[test]
fn who_served_is_up_before_its_first_probe_and_who_comes_later_is_not() {
    let mut state = state(web(&["10.0.0.1"], &[]), None);
    assert!(pools(&state)[0].2[0].1);
    state.end_boot();
    assert!(!pools(&state)[0].2[0].1);
}

#[test]
fn a_name_makes_an_endpoint_of_each_address_and_none_while_it_has_no_answer() {
    let mut state = state(web(&["web-blue"], &[]), None);
    assert_eq!(pools(&state)[0].2, []);
    state.resolved("web-blue", Ok(vec![[10, 0, 0, 3].into(), [10, 0, 0, 4].into()]));
    let ids: Vec<String> = pools(&state)[0].2.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, ["web-blue:8000#10.0.0.3", "web-blue:8000#10.0.0.4"]);
}

#[test]
fn a_container_is_known_by_its_id_and_an_unwell_one_is_not_up() {
    let mut state = state(web(&[], &[]), None);
    let labels = [("cutover.service", "web"), ("cutover.color", "blue"), ("cutover.port", "80")];
    let well = container("c0ffee", 1, &labels);
    let unwell = Container { wellness: Wellness::Unhealthy(String::new()), ..well.clone() };
    see(&mut state, well);
    assert_eq!(pools(&state)[0].2, [("c0ffee:80".into(), true)]);
    see(&mut state, unwell);
    assert_eq!(pools(&state)[0].2, [("c0ffee:80".into(), false)]);
}

#[test]
fn of_two_services_of_the_file_with_one_route_the_first_by_name_has_it() {
    let mut config = web(&["10.0.0.1"], &[]);
    config.services.insert("api".parse().unwrap(), ServiceConfig::default());
    let claims: Vec<_> = claims(&state(config, None)).into_values().collect();
    let [claim] = claims.as_slice() else { panic!("one route") };
    assert_eq!(claim.route.service.as_str(), "api");
    assert_eq!(claim.refused, ["web".parse().unwrap()]);
}

#[test]
fn a_container_gets_no_route_that_a_service_of_the_file_has() {
    let mut state = state(web(&["10.0.0.1"], &[]), None);
    see(&mut state, container("a", 1, &[("cutover.service", "api"), ("cutover.port", "80")]));
    let claims: Vec<_> = claims(&state).into_values().collect();
    let [claim] = claims.as_slice() else { panic!("one route") };
    assert_eq!(claim.route.service.as_str(), "web");
    assert!(state.discovered().left_out[0].reason.contains("belongs to service web"));
}
