//! People who deploy, abort, roll back and flip, and read what they are told.

use std::time::Duration;

use cutover_api::{Line, Report};
use cutover_proxy::table::{Color, ServiceName};

use super::life::Alive;
use crate::executor::Lines;
use crate::executor::request::{Deploy, Rollback};
use crate::registry::Logins;
use cutover_api::Target;

/// What somebody asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Command {
    /// `cutover abort`.
    Abort(&'static str),
    /// `cutover deploy` of some services with an image.
    Deploy(Vec<&'static str>, &'static str),
    /// `cutover flip`.
    Flip(&'static str, Target, bool),
    /// `cutover rollback`.
    Rollback(&'static str),
}

impl Alive {
    /// Has it done in the background, and looks at the answer.
    pub(super) fn ask(&self, command: Command) {
        let this = self.clone();
        self.world.asked(command.clone());
        tokio::spawn(async move {
            this.carry_out(command.clone()).await;
            this.world.answered(&command);
        });
    }

    /// Has it done, and looks at the answer. Gives the reports.
    pub(super) async fn carry_out(&self, command: Command) -> Vec<Report> {
        self.world.tell(format!("{command:?}"));
        match command {
            Command::Deploy(services, image) => {
                let services: Vec<ServiceName> = services.into_iter().map(name).collect();
                let first = services[0].clone();
                let image = Some(image.to_owned());
                let deploy = Deploy { services, image, ..Deploy::default() };
                let lines = self.rollouts.deploy(&first, deploy, Logins::default()).await;
                self.read(lines).await
            }
            Command::Rollback(service) => {
                let asked = Rollback::default();
                let lines = self.rollouts.rollback(&name(service), asked, Logins::default()).await;
                self.read(lines).await
            }
            Command::Abort(service) => {
                let aborted = self.rollouts.abort(&name(service), Some("a test")).await;
                match aborted {
                    Ok(aborted) => {
                        let serves = aborted.serves;
                        self.world.tell(format!("aborted: {serves:?}"));
                        self.serves(&name(service), serves.colors());
                    }
                    Err(error) => self.world.tell(format!("not aborted: {error}")),
                }
                Vec::new()
            }
            Command::Flip(service, to, force) => {
                let flipped = self.rollouts.flip(&name(service), to, force, None).await;
                match flipped {
                    Ok(_) => {
                        self.world.meddle();
                        self.world.tell("flipped");
                        self.serves(&name(service), to.colors());
                    }
                    Err(error) => self.world.tell(format!("not flipped: {error}")),
                }
                Vec::new()
            }
        }
    }

    /// Reads to the end, which is a report or an error.
    async fn read(&self, lines: Result<Lines, crate::error::Error>) -> Vec<Report> {
        let mut lines = match lines {
            Ok(lines) => lines,
            Err(error) => {
                self.world.tell(format!("not begun: {error}"));
                return Vec::new();
            }
        };
        let (mut reports, mut last) = (Vec::new(), None);
        while let Some(line) = lines.recv().await {
            if let Line::Report(report) = &line {
                self.world.reported(report.clone());
                reports.push(report.clone());
            }
            last = Some(line);
        }
        match last {
            Some(Line::Report(_)) => {}
            Some(Line::Error(body)) => self.world.tell(format!("failed: {}", body.error.message)),
            Some(Line::Event(event)) => {
                self.world.violated(format!("the last that a client was told is {event:?}"));
            }
            None => self.world.violated("a client was told nothing"),
        }
        reports
    }

    /// What was answered to be live is live.
    fn serves(&self, service: &ServiceName, colors: &[Color]) {
        let live = self.world.proxy.colors(service);
        if self.world.proxy.is_up() && live != colors {
            self.world.violated(format!("{service} was to be {colors:?} and is {live:?}"));
        }
    }

    /// Waits until every service serves for the first time.
    pub(super) async fn until_all_serve(&self) {
        for _ in 0..300 {
            let services = self.world.services();
            if services.iter().all(|service| !self.world.proxy.serving(service).is_empty()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.world.violated("the services never came up");
    }
}

/// A name that is one.
pub(super) fn name(service: &str) -> ServiceName {
    service.parse().unwrap()
}
