use std::net::SocketAddr;

use cutover_api::{ConfigStatus, Target, Weights};
use cutover_proxy::table::EndpointId;

use super::*;
use crate::config::{Config, StaticEndpoint};
use crate::state::ContainerEndpoint;
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
    state.booting = false;
    assert!(!pools(&state)[0].2[0].1);
}

#[test]
fn a_name_makes_an_endpoint_of_each_address_and_none_while_it_has_no_answer() {
    let mut state = state(web(&["web-blue"], &[]), None);
    assert_eq!(pools(&state)[0].2, []);
    let found = state.names.entry("web-blue".into()).or_default();
    found.addresses = vec![[10, 0, 0, 3].into(), [10, 0, 0, 4].into()];
    let ids: Vec<String> = pools(&state)[0].2.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, ["web-blue:8000#10.0.0.3", "web-blue:8000#10.0.0.4"]);
}

#[test]
fn a_container_is_known_by_its_id_and_an_unwell_one_is_not_up() {
    let mut state = state(web(&[], &[]), None);
    let address: SocketAddr = "10.0.0.9:80".parse().unwrap();
    let web = "web".parse().unwrap();
    let mut container = ContainerEndpoint::at(web, Color::Blue, "c0ffee", address);
    assert_eq!(container.id(), EndpointId::from("c0ffee:80"));
    state.discovery.endpoints = vec![container.clone()];
    assert_eq!(pools(&state)[0].2, [("c0ffee:80".into(), true)]);
    container.unwell = Some("unhealthy".into());
    state.discovery.endpoints = vec![container];
    assert_eq!(pools(&state)[0].2, [("c0ffee:80".into(), false)]);
}

#[test]
fn of_two_claims_to_one_route_the_files_stands() {
    let mut state = state(web(&["10.0.0.1"], &[]), None);
    let labelled = ServiceConfig::default();
    state.discovery.services.insert("api".parse().unwrap(), labelled);
    let claims: Vec<_> = claims(&state).into_values().collect();
    let [claim] = claims.as_slice() else { panic!("one route") };
    assert_eq!(claim.route.service.as_str(), "web");
    assert_eq!(claim.refused, ["api".parse().unwrap()]);
}
