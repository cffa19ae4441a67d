//! Looking after logs, subscriptions and projections: what a service is asked, call by call.

use proto::operator::v1::{
    CompareSubscriptionRequest, CompareSubscriptionResponse, GetStandingRequest, GetStandingResponse,
    HandOverSubscriptionRequest, HandOverSubscriptionResponse, RaiseEpochRequest, RaiseEpochResponse,
    RebuildProjectionRequest, RebuildProjectionResponse,
};

use super::{CallError, Operator};
use crate::Role;

impl Operator {
    /// How a service stands with its own log and with those that it follows.
    pub async fn standing(&self, service: Role) -> Result<GetStandingResponse, CallError> {
        self.ask(service, &GetStandingRequest { service: service.name().to_owned() }).await
    }

    /// Begins a new generation of a service's log, after the one `from`. The new epoch.
    pub async fn raise_epoch(&self, service: Role, from: i64) -> Result<i64, CallError> {
        let request = RaiseEpochRequest { service: service.name().to_owned(), from };
        Ok(self.tell::<_, RaiseEpochResponse>(service, &request).await?.epoch)
    }

    /// Has a subscription compared with its owners' logs; a replica is derived anew, if that is asked for.
    pub async fn compare(&self, service: Role, name: &str, anew: bool) -> Result<(), CallError> {
        let request = CompareSubscriptionRequest { service: service.name().to_owned(), name: name.to_owned(), anew };
        self.tell::<_, CompareSubscriptionResponse>(service, &request).await.map(drop)
    }

    /// Gives a subscription's work to another version of the code.
    pub async fn hand_over(&self, service: Role, name: &str, version: i32) -> Result<(), CallError> {
        let request =
            HandOverSubscriptionRequest { service: service.name().to_owned(), name: name.to_owned(), version };
        self.tell::<_, HandOverSubscriptionResponse>(service, &request).await.map(drop)
    }

    /// Writes the next rows of a projection again.
    pub async fn rebuild_projection(
        &self,
        service: Role,
        aggregate: &str,
        after: &str,
    ) -> Result<RebuildProjectionResponse, CallError> {
        let (aggregate, after) = (aggregate.to_owned(), after.to_owned());
        let request = RebuildProjectionRequest { service: service.name().to_owned(), aggregate, after, limit: 0 };
        self.tell(service, &request).await
    }
}
