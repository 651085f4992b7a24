//! What runs on the host before a play begins: images, and containers as Compose or a person has
//! started them.

use std::time::Duration;

use crate::engine::fake::{Behaviour, FakeEngine, FakeImage, Run};

/// How a service is laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Layout {
    /// One compose service whose newcomers are flipped to by themselves.
    Auto,
    /// A container that somebody has started, without Compose.
    ByHand,
    /// One compose service, of so many containers.
    Lone(usize),
    /// Two compose services, one for each color.
    Pair,
    /// Such two whose labels ask for releases by themselves.
    AutoPair,
    /// One of such two; the other one was never started.
    Half,
}

/// Images that are well.
pub(super) const GOOD: [&str; 4] = ["app:2", "app:3", "slow:1", "far:1"];
/// Images that are not, each in its way.
pub(super) const BAD: [&str; 4] = ["never:1", "dies:1", "late:1", "bad:1"];

impl FakeEngine {
    /// Adds the images that plays deploy.
    pub(super) fn add_images(&self) {
        let ms = Duration::from_millis;
        let well = Behaviour::default;
        let images = [
            ("app:1", well()),
            ("app:2", well()),
            ("app:3", well()),
            ("app:last", well()),
            ("slow:1", Behaviour { ready_after: Some(ms(2_500)), ..well() }),
            ("stubborn:1", Behaviour { stops_after: None, ..well() }),
            ("never:1", Behaviour { ready_after: None, ..well() }),
            ("dies:1", Behaviour { ready_after: None, dies_after: Some((ms(300), 1)), ..well() }),
            ("late:1", Behaviour { dies_after: Some((ms(1_700), 1)), ..well() }),
            ("bad:1", Behaviour { status: 500, ..well() }),
        ];
        for (name, behaviour) in images {
            self.add_image(name, FakeImage { behaviour, ..FakeImage::default() });
        }
        self.publish("far:1", FakeImage::default());
    }

    /// Starts the containers of a service.
    pub(super) fn bring_up(&self, service: &str, layout: Layout, image: &str) {
        match layout {
            Layout::ByHand => drop(self.run_by_hand(&container(service, layout, image, 1))),
            Layout::Auto => drop(self.run_by_hand(&of_compose(service, layout, image, 1))),
            Layout::Lone(count) => {
                for number in 1..=count {
                    self.run_by_hand(&of_compose(service, layout, image, number));
                }
            }
            Layout::Pair | Layout::AutoPair => {
                self.run_by_hand(&of_pair(service, layout, "blue", image));
                self.run_by_hand(&of_pair(service, layout, "green", image));
            }
            Layout::Half => drop(self.run_by_hand(&of_pair(service, layout, "blue", image))),
        }
    }

    /// What `compose up -d` does with a new image in the file, next to what runs. Nothing where a
    /// container of that name is there already.
    pub(super) fn scale_up(&self, service: &str, image: &str, number: usize) {
        let run = of_compose(service, Layout::Auto, image, number);
        if self.truths().iter().all(|truth| truth.name != run.name) {
            self.run_by_hand(&run);
        }
    }
}

fn container(service: &str, layout: Layout, image: &str, number: usize) -> Run {
    let auto = matches!(layout, Layout::Auto | Layout::AutoPair);
    let settings = [
        ("service", service),
        ("port", "8000"),
        ("probe.path", "/health"),
        ("drain.timeout", "3s"),
        ("drain.streams", "6s"),
        ("rollout.monitor", "2s"),
        ("rollout.keep_warm", "4s"),
        ("rollout.deploy_timeout", "8s"),
        ("rollout.auto", if auto { "true" } else { "false" }),
    ];
    let mut labels: Vec<_> = settings
        .iter()
        .map(|(key, value)| (format!("cutover.{key}"), (*value).to_owned()))
        .collect();
    labels.push(("cutover.hosts".into(), format!("{service}.test")));
    Run {
        name: format!("{service}-{number}"),
        image: image.into(),
        labels,
        restart: true,
        ..Run::default()
    }
}

fn of_compose(service: &str, layout: Layout, image: &str, number: usize) -> Run {
    let mut run = container(service, layout, image, number);
    run.name = format!("p-{service}-{number}");
    run.labels.extend([
        ("com.docker.compose.project".into(), "p".into()),
        ("com.docker.compose.service".into(), service.into()),
        ("com.docker.compose.config-hash".into(), format!("hash-{image}")),
        ("com.docker.compose.container-number".into(), number.to_string()),
    ]);
    run
}

fn of_pair(service: &str, layout: Layout, color: &str, image: &str) -> Run {
    let mut run = of_compose(&format!("{service}-{color}"), layout, image, 1);
    run.labels.retain(|(label, _)| label != "cutover.service" && label != "cutover.hosts");
    run.labels.push(("cutover.service".into(), service.into()));
    run.labels.push(("cutover.hosts".into(), format!("{service}.test")));
    run.labels.push(("cutover.color".into(), color.into()));
    run
}
