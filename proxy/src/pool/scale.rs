//! Tests of what a table costs when it is large: as much per service as when it is small.

use std::sync::Arc;

use crate::growth::growth;
use crate::metrics::counters::Registry;
use crate::pool::compile::Table;
use crate::pool::view::View;
use crate::table::{
    Balance, Color, EndpointId, EndpointSpec, Generation, HostPattern, Policy, PoolSpec, RouteSpec,
    ServiceName, ServiceSpec, TableSpec, Timeouts,
};

/// Eight times the services may take eight times as long, and not 64 times.
const MOST: f64 = 16.0;

/// Services of four endpoints, each with a path of its own on one host; with `round` the addresses
/// of two endpoints change.
fn spec(services: u32, round: u16) -> TableSpec {
    let name = |number| -> ServiceName { format!("service-{number}").parse().unwrap() };
    let endpoint = |number: u32, place: u16| {
        let port = 8000 + place + if place < 2 { round * 4 } else { 0 };
        let [_, high, middle, low] = number.to_be_bytes();
        EndpointSpec {
            id: EndpointId::from(format!("c{number}-{port}").as_str()),
            address: ([10, high, middle, low], port).into(),
            weight: 1,
            up: true,
        }
    };
    TableSpec {
        generation: Generation(u64::from(round) + 1),
        routes: (0..services)
            .map(|number| RouteSpec {
                host: HostPattern::Exact("app.test".to_owned()),
                path: format!("/{number}"),
                strip_prefix: false,
                service: name(number),
            })
            .collect(),
        services: (0..services)
            .map(|number| ServiceSpec {
                name: name(number),
                pools: vec![PoolSpec {
                    color: Color::Blue,
                    weight: 1,
                    endpoints: (0..4).map(|place| endpoint(number, place)).collect(),
                }],
                balance: Balance::P2c,
                host: None,
                max_body: None,
                timeouts: Timeouts::default(),
                pause: None,
            })
            .collect(),
        policy: Policy::default(),
    }
}

/// One table after the other: the first, one with other endpoints, and the same once more.
pub(super) fn tables(registry: &Registry, services: u32) -> [Arc<Table>; 3] {
    let mut live = Arc::new(Table::default());
    [(0, 1), (1, 2), (1, 3)].map(|(round, generation)| {
        let spec = TableSpec { generation: Generation(generation), ..spec(services, round) };
        live = Arc::new(Table::compile(spec, &live, registry).unwrap().publish());
        Arc::clone(&live)
    })
}

#[test]
fn a_table_takes_as_long_as_it_has_services() {
    let registry = Registry::new(1);
    let compile = |services| drop(tables(&registry, services));
    let times = growth(|| compile(250), || compile(2000));
    assert!(times < MOST, "8 times the services took {times} times as long");
}

#[test]
fn a_view_takes_as_long_as_its_table_has_services() {
    let registry = Registry::new(1);
    let [few, many] = [100, 800].map(|services| tables(&registry, services));
    let look = |tables: &[Arc<Table>; 3]| {
        let mut view: Option<View> = None;
        for table in tables {
            let next = View::new(Arc::clone(table), view.as_ref(), 0);
            for service in &table.services {
                let name = &service.settings.name;
                assert_eq!(next.service(name).unwrap().context.settings.name, *name);
            }
            view = Some(next);
        }
    };
    let times = growth(|| look(&few), || look(&many));
    assert!(times < MOST, "8 times the services took {times} times as long");
}

#[test]
fn a_pool_takes_as_long_as_it_has_endpoints() {
    let registry = Registry::new(1);
    let pool_of = |endpoints: u32, round: u16| {
        let TableSpec { mut services, .. } = spec(endpoints / 4, round);
        let all = services.iter_mut().flat_map(|service| service.pools[0].endpoints.drain(..));
        let all = all.collect();
        let mut table = spec(1, round);
        table.services[0].pools[0].endpoints = all;
        table
    };
    let change = |endpoints| {
        let first = pool_of(endpoints, 0);
        let first = Table::compile(first, &Table::default(), &registry).unwrap().publish();
        let second = Table::compile(pool_of(endpoints, 1), &first, &registry).unwrap().publish();
        let view = View::new(Arc::new(first), None, 0);
        View::new(Arc::new(second), Some(&view), 0);
    };
    let times = growth(|| change(200), || change(1600));
    assert!(times < MOST, "8 times the endpoints took {times} times as long");
}
