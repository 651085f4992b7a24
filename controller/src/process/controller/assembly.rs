//! A controller put together from its parts, and run until it is told to stop.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use cutover_api::ConfigStatus;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::Config;
use crate::config::reload::Reload;
use crate::discovery::{Discovery, own_container};
use crate::engine::Containers;
use crate::executor::{Rollouts, Tools};
use crate::http::{admin, control, rollouts as routes, server};
use crate::serving::configure::warnings;
use crate::serving::controller::Controller;
use crate::serving::outside::Outside;
use crate::state::store::Disk;

/// What the role needs from whoever starts it.
#[derive(Debug)]
pub(crate) struct Options {
    /// The config to start with.
    pub config: Config,
    /// Where it came from; `None` where there is no file.
    pub config_path: Option<PathBuf>,
    /// The control socket, bound.
    pub control: UnixListener,
    /// The admin address, bound; `None` is off.
    pub admin: Option<std::net::TcpListener>,
    /// The config file under watch.
    pub reload: Reload,
    /// What comes up meanwhile. Its end is the end of the controller.
    pub notices: mpsc::UnboundedReceiver<Notice>,
}

/// Something that the controller is to react to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    /// The access log is to be opened anew.
    ReopenLog,
    /// The end is near: `/readyz` fails from now on.
    Retire,
    /// End now.
    Stop,
}

/// What a controller is made of, beside its config.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The disk, the proxy and the apps.
    pub outside: Outside,
    /// Where containers are; `None` is a controller without container work.
    pub engine: Option<Containers>,
    /// What our own container may be called.
    pub own: Vec<String>,
}

/// Starts a controller; with an engine, rollouts as well.
///
/// Needs a tokio runtime.
pub(crate) fn assemble(
    config: Config,
    status: ConfigStatus,
    parts: Parts,
) -> (Controller, Option<Rollouts>) {
    let Parts { outside, engine, own } = parts;
    let controller = Controller::start(config, status, outside);
    let rollouts = engine.map(|containers| {
        controller.await_containers();
        let discovery = Discovery::start(controller.clone(), containers.clone(), own);
        Rollouts::start(Tools { controller: controller.clone(), containers, discovery })
    });
    (controller, rollouts)
}

/// Runs the controller until its notices end.
///
/// Needs a tokio runtime; one thread is enough.
///
/// # Errors
/// Only where it cannot even begin. Without a proxy, a name server, a writable disk or Docker it
/// runs, and says what is missing.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let Options { config, config_path, control, admin, mut reload, mut notices } = options;
    let listen = config.listen.clone();
    let path = config_path.map(|path| path.display().to_string());
    let docker = config.docker.clone();
    let status = ConfigStatus {
        ok: true,
        warnings: warnings(&config, path.as_deref()),
        path,
        ..ConfigStatus::default()
    };
    let parts = Parts {
        outside: Outside::new(
            Arc::new(Disk::new(config.runtime.state_dir.clone())),
            &listen.control.with_file_name("proxy.sock"),
        ),
        engine: docker.enable.then(|| Containers::docker(&docker.socket)),
        own: own_container::ids(),
    };
    let (controller, rollouts) = assemble(config, status, parts);
    let routes = rollouts.clone().map_or_else(routes::without_docker, routes::router);
    let router = control::router(controller.clone()).merge(routes);
    let router = match rollouts {
        Some(rollouts) => router.layer(axum::Extension(rollouts)),
        None => router,
    };

    controller.open_access_log().await;

    control.set_nonblocking(true)?;
    let control = tokio::net::UnixListener::from_std(control).context("the control socket")?;
    let gids = listen.control_gids;
    tokio::spawn(server::control(
        control,
        move |stream| control::allowed(stream, &gids),
        router,
        control::forbidden(),
    ));
    if let Some(admin) = admin {
        admin.set_nonblocking(true)?;
        let admin = tokio::net::TcpListener::from_std(admin).context("the admin address")?;
        tokio::spawn(server::admin(admin, admin::router(controller.clone())));
    }
    info!(control = %listen.control.display(), "controller started");

    loop {
        tokio::select! {
            // What is wrong with it is in the log and in `status`.
            loaded = reload.next() => drop(controller.take_config(loaded).await),
            notice = notices.recv() => match notice {
                Some(Notice::ReopenLog) => controller.open_access_log().await,
                Some(Notice::Retire) => controller.retire(),
                Some(Notice::Stop) | None => break,
            },
        }
    }
    controller.retire();
    if let Err(error) = controller.save().await {
        warn!(%error, "the journal is as it was before");
    }
    Ok(())
}
