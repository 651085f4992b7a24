//! What the classification has made of the containers that there are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use cutover_api::LeftOut;
use cutover_proxy::table::{Color, EndpointId, ServiceName};

use crate::config::ServiceConfig;

/// What containers there are, as far as they are ours to serve.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Discovered {
    /// The live settings of services with labels; a service of the file keeps the file's.
    pub services: BTreeMap<ServiceName, ServiceConfig>,
    /// Where the containers can be reached that get requests when their color serves, by service.
    pub endpoints: Vec<ContainerEndpoint>,
    /// Where those can be reached that get none, and would if nothing else were left. They are
    /// probed as well.
    pub spares: Vec<ContainerEndpoint>,
    /// Where each container stands, whatever its state, by its ID.
    pub placed: BTreeMap<String, Placed>,
    /// How many containers each color has, whatever their state.
    pub present: BTreeMap<(ServiceName, Color), usize>,
    /// Containers that have labels of ours but serve nothing.
    pub left_out: Vec<LeftOut>,
}

/// Where a container stands in its service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Placed {
    /// The service it belongs to.
    pub service: ServiceName,
    /// Its color.
    pub color: Color,
    /// Whether it is of the release that its color serves.
    pub member: bool,
}

impl Discovered {
    /// The endpoints of a service.
    #[must_use]
    pub(crate) fn endpoints_of(&self, name: &ServiceName) -> &[ContainerEndpoint] {
        let from = self.endpoints.partition_point(|e| e.service < *name);
        let to = self.endpoints.partition_point(|e| e.service <= *name);
        self.endpoints.get(from..to).unwrap_or_default()
    }
}

/// One address of one container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContainerEndpoint {
    /// The service it belongs to.
    pub service: ServiceName,
    /// The color it belongs to.
    pub color: Color,
    /// The container's full ID.
    pub container: String,
    /// The container's name, for people.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
    /// The share within its pool.
    pub weight: u32,
    /// What Docker says against it: `unhealthy`, `starting`, `paused`; `None` is well.
    pub unwell: Option<String>,
    /// The key of its release.
    pub release: String,
    /// When the container was created.
    pub created: SystemTime,
    /// Its own settings: by these it is probed.
    pub settings: Arc<ServiceConfig>,
}

impl ContainerEndpoint {
    /// An endpoint of which nothing more is known than where it is.
    #[must_use]
    pub(crate) fn at(
        service: ServiceName,
        color: Color,
        container: &str,
        address: SocketAddr,
    ) -> Self {
        Self {
            service,
            color,
            container: container.to_owned(),
            name: container.to_owned(),
            address,
            weight: 1,
            unwell: None,
            release: String::new(),
            created: SystemTime::UNIX_EPOCH,
            settings: Arc::default(),
        }
    }

    /// Its identity: the container's ID and the port, never the address.
    #[must_use]
    pub(crate) fn id(&self) -> EndpointId {
        EndpointId(format!("{}:{}", self.container, self.address.port()).into())
    }
}
