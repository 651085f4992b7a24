//! Making a container, once: a call that is repeated finishes what the one before it began.

use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::{CALL, Docker, SLOW, within};
use crate::engine::{Container, Engine, EngineError, Spec, State, WorkloadId};

impl Docker {
    pub(super) async fn make(&self, name: &str, spec: Spec) -> Result<WorkloadId, EngineError> {
        let there = self.inspect(name).await?;
        if let Some(there) = spec.adopt(name, there)? {
            return self.finish(there, &spec).await;
        }
        let client = self.client().await?;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let created = client.create_container(Some(options), spec.body.clone());
        let id = match within("create", SLOW, created).await {
            Ok(created) => created.id,
            // Somebody was faster, perhaps a call of ours that was given up.
            Err(error @ EngineError::Refused { status: 409, .. }) => {
                let there = self.inspect(name).await?;
                let there = spec.adopt(name, there)?.ok_or(error)?;
                return self.finish(there, &spec).await;
            }
            Err(error) => return Err(error),
        };
        let rest = async {
            self.join(&id, &spec, |_| true).await?;
            self.upload(&id, &spec).await
        };
        if let Err(error) = rest.await {
            self.remove(&id).await.ok();
            return Err(error);
        }
        Ok(WorkloadId::local(id))
    }

    /// Does what is left to do for a container of ours that was found.
    async fn finish(&self, there: Container, spec: &Spec) -> Result<WorkloadId, EngineError> {
        if there.state == State::Created {
            let missing = |network: &str| !there.joined.contains(network);
            self.join(there.id.as_str(), spec, missing).await?;
            self.upload(there.id.as_str(), spec).await?;
        }
        Ok(there.id)
    }

    /// Joins a container to the networks beside its first one.
    async fn join(
        &self,
        id: &str,
        spec: &Spec,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), EngineError> {
        let client = self.client().await?;
        for (network, request) in spec.networks.iter().filter(|(name, _)| wanted(name)) {
            let mut request = request.clone();
            id.clone_into(&mut request.container);
            within("connect", CALL, client.connect_network(network, request)).await?;
        }
        Ok(())
    }
}
