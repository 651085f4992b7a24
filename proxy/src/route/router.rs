//! From host and path to a service.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use crate::table::{HostPattern, RouteSpec, ServiceName};

/// The routes of one table, ready to be searched.
///
/// The order is fixed, whatever the order of the configuration: an exact host before a wildcard
/// before any host, and within a host the longest path first. A host whose paths do not match falls
/// through to the next class.
#[derive(Debug, Default)]
pub(crate) struct Router {
    exact: HashMap<String, Vec<Route>>,
    wildcard: HashMap<String, Vec<Route>>,
    any: Vec<Route>,
}

/// One path prefix of one host.
#[derive(Debug, PartialEq)]
pub(crate) struct Route {
    /// Without a trailing slash; the root is empty.
    prefix: String,
    strip: bool,
    /// The service's place in its table.
    pub(crate) service: usize,
}

impl Route {
    fn matches(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.prefix.is_empty())
    }

    /// The target (path and query) to send upstream, where it is not the client's own.
    pub(crate) fn strip<'a>(&self, target: &'a str) -> Option<Cow<'a, str>> {
        if !self.strip || self.prefix.is_empty() {
            return None;
        }
        let rest = target.strip_prefix(self.prefix.as_str())?;
        Some(if rest.starts_with('/') { rest.into() } else { format!("/{rest}").into() })
    }
}

/// A route that names no service of its table.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the route {host}{path} names the service {service}, which is not in the table")]
pub(crate) struct UnknownService {
    host: String,
    path: String,
    service: ServiceName,
}

impl Router {
    /// Sorts the routes; `index` gives a service's place in its table.
    pub(crate) fn new(
        routes: &[RouteSpec],
        index: impl Fn(&ServiceName) -> Option<usize>,
    ) -> Result<Self, UnknownService> {
        let mut router = Self::default();
        for spec in routes {
            let service = index(&spec.service).ok_or_else(|| UnknownService {
                host: spec.host.to_string(),
                path: spec.path.clone(),
                service: spec.service.clone(),
            })?;
            let route = Route {
                prefix: spec.path.trim_end_matches('/').to_owned(),
                strip: spec.strip_prefix,
                service,
            };
            let paths = match &spec.host {
                HostPattern::Any => &mut router.any,
                HostPattern::Exact(host) => router.exact.entry(host.clone()).or_default(),
                HostPattern::Wildcard(parent) => router.wildcard.entry(parent.clone()).or_default(),
            };
            paths.push(route);
        }
        let hosts = router.exact.values_mut().chain(router.wildcard.values_mut());
        for paths in hosts.chain([&mut router.any]) {
            // Stable: of equal lengths the first one named stays ahead.
            paths.sort_by_key(|route| Reverse(route.prefix.len()));
        }
        Ok(router)
    }

    /// The route of a request; `host` is lower case and without port, empty where there is none.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Route> {
        longest_of(&self.exact, host, path)
            .or_else(|| {
                let (_, parent) = host.split_once('.')?;
                longest_of(&self.wildcard, parent, path)
            })
            .or_else(|| longest(&self.any, path))
    }
}

fn longest_of<'a>(
    hosts: &'a HashMap<String, Vec<Route>>,
    host: &str,
    path: &str,
) -> Option<&'a Route> {
    // Often empty: an app alone on its server takes any host, and needs no hash.
    if hosts.is_empty() {
        return None;
    }
    longest(hosts.get(host)?, path)
}

fn longest<'a>(routes: &'a [Route], path: &str) -> Option<&'a Route> {
    routes.iter().find(|route| route.matches(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[(&str, &str)]) -> Router {
        let specs: Vec<_> = routes
            .iter()
            .enumerate()
            .map(|(index, (host, path))| RouteSpec {
                host: match host.strip_prefix("*.") {
                    _ if *host == "*" => HostPattern::Any,
                    Some(parent) => HostPattern::Wildcard(parent.into()),
                    None => HostPattern::Exact((*host).into()),
                },
                path: (*path).into(),
                strip_prefix: true,
                service: format!("s{index}").parse().unwrap(),
            })
            .collect();
        Router::new(&specs, |name| name.as_str().strip_prefix('s')?.parse().ok()).unwrap()
    }

    fn found(router: &Router, host: &str, path: &str) -> Option<usize> {
        router.find(host, path).map(|route| route.service)
    }

    #[test]
    fn an_exact_host_beats_a_wildcard_and_a_wildcard_beats_any() {
        let router = router(&[("*", "/"), ("*.a.test", "/"), ("b.a.test", "/")]);
        assert_eq!(found(&router, "b.a.test", "/"), Some(2));
        assert_eq!(found(&router, "c.a.test", "/"), Some(1));
        assert_eq!(found(&router, "a.test", "/"), Some(0));
        assert_eq!(found(&router, "d.c.a.test", "/"), Some(0), "one label only");
        assert_eq!(found(&router, "", "/"), Some(0));
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let router = router(&[("*", "/"), ("*", "/api"), ("*", "/api/v2/")]);
        assert_eq!(found(&router, "x", "/api"), Some(1));
        assert_eq!(found(&router, "x", "/api/v1"), Some(1));
        assert_eq!(found(&router, "x", "/api/v2"), Some(2));
        assert_eq!(found(&router, "x", "/api/v2/x"), Some(2));
        assert_eq!(found(&router, "x", "/apix"), Some(0));
    }

    #[test]
    fn a_host_without_a_matching_path_falls_through() {
        let router = router(&[("a.test", "/api"), ("*", "/")]);
        assert_eq!(found(&router, "a.test", "/x"), Some(1));
        assert_eq!(found(&router, "a.test", "/api/x"), Some(0));
    }

    #[test]
    fn no_route_is_none() {
        assert_eq!(found(&router(&[("a.test", "/")]), "b.test", "/"), None);
    }

    #[test]
    fn stripping_keeps_the_query() {
        let router = router(&[("*", "/api")]);
        let route = router.find("x", "/api/users").unwrap();
        assert_eq!(route.strip("/api/users?q=1"), Some("/users?q=1".into()));
        assert_eq!(route.strip("/api?q=1"), Some("/?q=1".into()));
    }
}
