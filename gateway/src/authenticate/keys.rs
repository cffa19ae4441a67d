use std::time::Duration;

use identity::TokenVerifier;
use proto::Message as _;
use proto::registration::v1::{ListSigningKeysRequest, ListSigningKeysResponse};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::Refusal;
use crate::owner::{Onward, Owner};
use crate::seals::Seals;

const LIST_SIGNING_KEYS: &str = "millrace.registration.v1.RegistrationService/ListSigningKeys";

/// Keys are published long before they are used, so an unknown one is a forgery as a rule: it may not cost a call each.
const PAUSE_AFTER_SUCCESS: Duration = Duration::from_secs(5);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

const TIMEOUT: Duration = Duration::from_secs(2);

/// Where the keys that sign access tokens are asked for: at registration.
#[derive(Debug)]
pub struct KeySource {
    registration: Option<Owner>,
    seals: Seals,
    /// When they were last asked for, and whether they came. Held while they are asked for, so that one call does for all who wait.
    last: Mutex<Option<(Instant, bool)>>,
}

impl KeySource {
    /// Without registration no token is ever good.
    pub fn new(registration: Option<Owner>, seals: Seals) -> Self {
        Self { registration, seals, last: Mutex::default() }
    }

    /// Asks until there are keys.
    pub async fn load(&self, tokens: &TokenVerifier) {
        while self.refresh(tokens).await.is_err() {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }

    /// Asks for the keys, unless that was done just now. Fails if registration cannot be reached: then nothing can be said of a token.
    pub async fn refresh(&self, tokens: &TokenVerifier) -> Result<(), Refusal> {
        let mut last = self.last.lock().await;
        let known = match *last {
            Some((at, true)) if at.elapsed() < PAUSE_AFTER_SUCCESS => true,
            Some((at, false)) if at.elapsed() < PAUSE_AFTER_FAILURE => false,
            _ => {
                let keys = self.fetch().await;
                if let Some(keys) = keys.as_ref() {
                    let keys = keys.keys.iter();
                    tokens.set_keys(
                        keys.filter_map(|key| Some((key.key_id.clone(), key.public_key.as_ref().try_into().ok()?))),
                    );
                }
                *last = Some((Instant::now(), keys.is_some()));
                keys.is_some()
            }
        };
        if known { Ok(()) } else { Err(Refusal::Unavailable) }
    }

    async fn fetch(&self) -> Option<ListSigningKeysResponse> {
        let registration = self.registration.as_ref()?;
        let body = ListSigningKeysRequest {}.encode_to_vec();
        let seal = self.seals.query(&registration.domain, &self.seals.service(), LIST_SIGNING_KEYS, &body).ok()?;
        let onward = Onward { seal, within: Some(TIMEOUT), ..Onward::default() };
        // The channel waits for a connection without an end of its own.
        let answer =
            tokio::time::timeout(TIMEOUT, registration.ask(LIST_SIGNING_KEYS, onward, body.into())).await.ok()?;
        match answer {
            Ok(bytes) => ListSigningKeysResponse::decode(bytes).ok(),
            Err(status) => {
                tracing::warn!(code = ?status.code(), "the signing keys cannot be had");
                None
            }
        }
    }
}
