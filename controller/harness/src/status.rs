//! What `cutover status` and the engine say of an edge's service.

use serde_json::Value;

use crate::{Edge, eventually, image};

impl Edge {
    /// The whole status; `None` while the control side does not answer.
    #[must_use]
    pub fn status(&self) -> Option<Value> {
        let said = self.cutover(&["status", "--json"]);
        (said.code == 0).then(|| said.report())
    }

    /// That of its service.
    #[must_use]
    pub fn service_status(&self) -> Option<Value> {
        self.status_of(&self.service())
    }

    /// That of a service.
    #[must_use]
    pub fn status_of(&self, service: &str) -> Option<Value> {
        let status = self.status()?;
        status["services"].as_array()?.iter().find(|s| s["name"] == service).cloned()
    }

    /// The color that serves of another service, once it has somebody who does.
    #[must_use]
    pub fn active_of(&self, service: &str) -> Option<String> {
        let found = self.status_of(service)?;
        let active = found["active"].as_str()?.to_owned();
        let up = found["colors"][&active]["endpoints"].as_array()?.iter().any(|e| e["up"] == true);
        up.then_some(active)
    }

    /// The color that serves.
    ///
    /// # Panics
    /// When the service is not known.
    #[must_use]
    pub fn active(&self) -> String {
        self.service_status().unwrap()["active"].as_str().unwrap().to_owned()
    }

    /// The container that serves, the first of them.
    ///
    /// # Panics
    /// When the service is not known.
    #[must_use]
    pub fn serving(&self) -> String {
        let status = self.service_status().unwrap();
        let active = status["active"].as_str().unwrap();
        status["colors"][active]["endpoints"][0]["container"].as_str().unwrap().to_owned()
    }

    /// The rollout under way, or null.
    #[must_use]
    pub fn rollout(&self) -> Value {
        self.try_rollout().unwrap_or_default()
    }

    /// The same; `None` while the control side does not answer.
    #[must_use]
    pub fn try_rollout(&self) -> Option<Value> {
        Some(self.service_status()?["rollout"].clone())
    }

    /// How many endpoints of a color are up.
    #[must_use]
    pub fn endpoints_up(&self, color: &str) -> usize {
        let Some(status) = self.service_status() else { return 0 };
        let endpoints = status["colors"][color]["endpoints"].as_array().cloned();
        endpoints.unwrap_or_default().iter().filter(|e| e["up"] == true).count()
    }

    /// How many endpoints of the color that serves are up.
    #[must_use]
    pub fn active_endpoints_up(&self) -> usize {
        let Some(status) = self.service_status() else { return 0 };
        self.endpoints_up(status["active"].as_str().unwrap_or_default())
    }

    /// Why containers of ours are left out: their names and reasons.
    #[must_use]
    pub fn left_out(&self) -> Vec<(String, String)> {
        let status = self.status().unwrap_or_default();
        let left = status["left_out"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        left.iter().map(|l| (text(&l["container"]), text(&l["reason"]))).collect()
    }

    /// What status says against the disk.
    #[must_use]
    pub fn journal_error(&self) -> Option<String> {
        Some(self.status()?["journal_error"].as_str()?.to_owned())
    }

    /// What status says against the engine.
    #[must_use]
    pub fn docker_error(&self) -> Option<String> {
        let status = self.status()?;
        let error = status["docker_error"].as_str().or_else(|| status["docker"]["error"].as_str());
        Some(error?.to_owned())
    }

    /// Whether a service has both colors up.
    #[must_use]
    pub fn is_known(&self, service: &str) -> bool {
        let Some(found) = self.status_of(service) else { return false };
        ["blue", "green"].iter().all(|color| found["colors"][color]["endpoints"][0]["up"] == true)
    }

    /// The weights of its service.
    ///
    /// # Panics
    /// When the service is not known.
    #[must_use]
    pub fn weights(&self) -> Value {
        self.service_status().unwrap()["weights"].clone()
    }

    /// The releases of a color's endpoints that are up.
    #[must_use]
    pub fn releases(&self, color: &str) -> Vec<String> {
        let Some(status) = self.service_status() else { return Vec::new() };
        let endpoints = status["colors"][color]["endpoints"].as_array().cloned();
        let up = endpoints.unwrap_or_default().into_iter().filter(|e| e["up"] == true);
        let image = |endpoint: Value| {
            let name = endpoint["container"].as_str()?.to_owned();
            let image = self.engine.try_docker(&["inspect", "-f", "{{.Config.Image}}", &name])?;
            Some(image.rsplit(':').next()?.to_owned())
        };
        up.filter_map(image).collect()
    }

    /// The variables of the one container of a color that is up.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn environment(&self, color: &str) -> Vec<String> {
        let status = self.service_status().unwrap();
        let name = status["colors"][color]["endpoints"][0]["container"].as_str().unwrap();
        let environment = self.docker(&["inspect", "-f", "{{join .Config.Env \"\\n\"}}", name]);
        environment.lines().map(str::to_owned).collect()
    }

    /// Waits until requests are answered by containers of this release only.
    ///
    /// # Panics
    /// When they are not within a minute.
    pub fn until_served(&self, release: &str) {
        let image = image(release);
        eventually(&format!("release {release} serves"), || {
            let Some(status) = self.service_status() else { return false };
            let active = status["active"].as_str().unwrap_or_default();
            let endpoints = status["colors"][active]["endpoints"].as_array().cloned();
            let endpoints = endpoints.unwrap_or_default();
            let right = |e: &Value| {
                let name = e["container"].as_str().unwrap_or_default();
                let found = self.engine.try_docker(&["inspect", "-f", "{{.Config.Image}}", name]);
                e["up"] == true && found.as_deref() == Some(image.as_str())
            };
            !endpoints.is_empty() && endpoints.iter().all(right) && self.fetch().is_ok()
        });
    }

    /// The names of all containers of the service.
    #[must_use]
    pub fn containers(&self) -> Vec<String> {
        self.listed(&["-a"])
    }

    /// The names of those that run.
    pub(crate) fn running(&self) -> Vec<String> {
        self.listed(&[])
    }

    fn listed(&self, more: &[&str]) -> Vec<String> {
        let filter = format!("label=cutover.service={}", self.service());
        let ps = ["ps", "--filter", &filter, "--format", "{{.Names}}"];
        let names = self.docker(&[&ps[..], more].concat());
        names.lines().map(str::to_owned).collect()
    }

    /// Whether a container does not run, or is not there.
    #[must_use]
    pub fn is_stopped(&self, name: &str) -> bool {
        self.engine.try_docker(&["inspect", "-f", "{{.State.Running}}", name]).as_deref()
            != Some("true")
    }

    /// What a container that nobody touched keeps: its ID, its start, its restarts.
    #[must_use]
    pub fn identity(&self, name: &str) -> String {
        let format = "{{.Id}} {{.Name}} {{.State.StartedAt}} {{.RestartCount}}";
        self.docker(&["inspect", "-f", format, name])
    }

    /// Containers of the service that run and are in no color.
    #[must_use]
    pub fn orphans(&self) -> Vec<String> {
        let Some(service) = self.service_status() else { return vec!["no status".into()] };
        let known = |name: &String| {
            ["blue", "green"].iter().any(|color| {
                let endpoints = service["colors"][color]["endpoints"].as_array();
                endpoints.is_some_and(|all| all.iter().any(|e| e["container"] == name.as_str()))
            })
        };
        self.running().into_iter().filter(|name| !known(name)).collect()
    }
}
