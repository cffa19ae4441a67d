use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use event::Schema;
use serve::Service;

use crate::shop::ShopError;

/// One part of Millrace that can run by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Gateway,
    Registration,
    User,
    Order,
    Billing,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Registration, Self::User, Self::Order, Self::Billing, Self::Gateway];

    /// Its name, which is also its domain.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => serve::GATEWAY,
            Self::Registration => "registration",
            Self::User => "user",
            Self::Order => "order",
            Self::Billing => "billing",
        }
    }

    /// The services; everything but the gateway.
    pub fn services() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|role| *role != Self::Gateway)
    }

    /// Whom it calls, and so whose pair keys it holds. The gateway calls everybody: with queries, with direct commands, for receipts. A
    /// service calls those whose events it follows, to read what the broker did not bring from their logs, and those whose commands may be
    /// ACCEPTED, to ask whether one that a consistency token names has ended. `tests/` keeps this list in step with the subscriptions and the
    /// protos; there is no other call between services.
    pub const fn calls(self) -> &'static [Self] {
        match self {
            Self::Gateway => &[Self::Registration, Self::User, Self::Order, Self::Billing],
            Self::Registration => &[Self::User, Self::Order],
            Self::User => &[Self::Registration, Self::Order],
            Self::Order => &[Self::Registration, Self::User, Self::Billing],
            Self::Billing => &[Self::Registration, Self::User, Self::Order],
        }
    }

    /// Where it listens if nothing else is said.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Gateway => 7400,
            Self::Registration => 7401,
            Self::User => 7402,
            Self::Order => 7403,
            Self::Billing => 7404,
        }
    }

    /// The service; None for the gateway. `provider` is where the simulated payment provider keeps what it was asked,
    /// `order` what the order service is told.
    pub async fn service(
        self,
        schema: Arc<Schema>,
        provider: &str,
        order: order::Settings,
    ) -> Result<Option<Service>, ShopError> {
        Ok(match self {
            Self::Gateway => None,
            Self::Registration => Some(registration::service(schema, registration::Settings::default())),
            Self::User => Some(user::service(schema)),
            Self::Order => Some(order::service(schema, order)),
            Self::Billing => {
                let provider = billing::Simulated::open(provider).await.map_err(ShopError::Provider)?;
                Some(billing::service(schema, Arc::new(provider), billing::Settings::default()))
            }
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|role| role.name() == name)
            .ok_or_else(|| format!("`{name}` is no service; there are {}", names()))
    }
}
