use std::time::Duration;

use event::{History, Id, Key, TraceContext};
use identity::{Issuer, MasterKey, Sealer, SigningKey};
use ring::rand::SystemRandom;
use secrecy::ExposeSecret as _;

use super::*;
use crate::owner::Owner;
use crate::seals::Seals;

const NOW: Micros = Micros(1_700_000_000_000_000);

struct World {
    authenticator: Authenticator,
    key: SigningKey,
}

impl World {
    /// A gateway that has heard of the key on the stream; registration is down.
    fn new() -> Self {
        let random = SystemRandom::new();
        let key = SigningKey::draw(&random).unwrap();
        let pair = MasterKey::draw(&random).unwrap().owner(DOMAIN).pair("gateway");
        let seals = Seals::new(Sealer::new("gateway", [(DOMAIN.to_owned(), pair)]), Arc::new(|| NOW));
        let keys = KeySource::new(Some(Owner::nowhere(DOMAIN)), seals);
        let authenticator = Authenticator::new(keys, EndedSessions::new(Duration::from_hours(1)));
        let event = SigningKeyPublished { key_id: key.key_id(), public_key: key.public_key().to_vec().into() };
        authenticator.note(&record(Key::new("signing-key", id(9)), &event));
        Self { authenticator, key }
    }

    fn token(&self, roles: &[&str], expires_at: Micros) -> String {
        let roles = roles.iter().map(|&role| role.to_owned()).collect();
        let claims = Claims { user: id(1), session: id(2), roles, issued_at: NOW, expires_at };
        Issuer::new(self.key.clone()).issue(&claims).unwrap().expose_secret().to_owned()
    }

    async fn call(&self, access: Access, authorization: &str) -> Result<Option<Arc<Claims>>, Refusal> {
        let headers = [(AUTHORIZATION, authorization.parse().unwrap())];
        self.authenticator.caller(access, &headers.into_iter().collect(), NOW).await
    }
}

fn id(n: u8) -> Id {
    Id::timed(u64::from(n), [n; 10])
}

fn record<E: proto::Event>(key: Key, event: &E) -> Record {
    Record {
        id: uuid::Uuid::nil(),
        source: id(0),
        key,
        epoch: 1,
        revision: 1,
        history: History::default(),
        type_name: E::full_name(),
        body: event.encode_to_vec().into(),
        time: NOW,
        principal: "service/registration".to_owned(),
        command_id: None,
        cause_id: None,
        trace: TraceContext::default(),
    }
}

const LATER: Micros = Micros(NOW.0 + 60_000_000);

#[tokio::test]
async fn a_good_token_says_who_calls() {
    let world = World::new();
    let claims = world.call(Access::User, &format!("bearer {}", world.token(&[], LATER))).await.unwrap().unwrap();
    assert_eq!((claims.user, claims.session), (id(1), id(2)));
}

#[tokio::test]
async fn what_anybody_may_call_needs_no_token_and_looks_at_none() {
    let caller = World::new().call(Access::Anonymous, "Bearer nonsense").await.unwrap();
    assert_eq!(caller, None);
}

#[tokio::test]
async fn a_token_that_is_missing_forged_or_expired_is_refused_for_that() {
    let world = World::new();
    let none = world.authenticator.caller(Access::User, &HeaderMap::new(), NOW).await;
    assert!(matches!(none, Err(Refusal::MissingToken)));
    for forged in ["Basic eDp5", "Bearer", "Bearer nonsense", "Bearer a.b.c"] {
        assert!(matches!(world.call(Access::User, forged).await, Err(Refusal::InvalidToken)), "{forged}");
    }
    let altered = world.token(&["staff"], LATER).replacen('.', ".x", 1);
    assert!(matches!(world.call(Access::User, &format!("Bearer {altered}")).await, Err(Refusal::InvalidToken)));
    let expired = world.token(&[], Micros(NOW.0 - 60_000_000));
    assert!(matches!(world.call(Access::User, &format!("Bearer {expired}")).await, Err(Refusal::ExpiredToken)));
}

#[tokio::test]
async fn while_registration_is_down_nothing_is_said_of_a_token_under_an_unknown_key() {
    let world = World::new();
    let stranger = World::new();
    let token = stranger.token(&[], LATER);
    assert!(matches!(world.call(Access::User, &format!("Bearer {token}")).await, Err(Refusal::Unavailable)));
}

#[tokio::test]
async fn a_logout_ends_the_tokens_of_its_session() {
    let world = World::new();
    let event = LogoutSuccess { session_id: id(2).to_string(), ..LogoutSuccess::default() };
    world.authenticator.note(&record(Key::new("session", id(2)), &event));
    let token = format!("Bearer {}", world.token(&[], LATER));
    assert!(matches!(world.call(Access::User, &token).await, Err(Refusal::SessionEnded)));
}

#[tokio::test]
async fn what_is_internal_is_for_nobody_whatever_their_token() {
    let world = World::new();
    let staff = format!("Bearer {}", world.token(&["staff"], LATER));
    assert!(matches!(world.call(Access::Internal, &staff).await, Err(Refusal::UnknownMethod)));
}

#[tokio::test]
async fn what_is_for_staff_needs_the_role() {
    let world = World::new();
    let customer = format!("Bearer {}", world.token(&["tester"], LATER));
    assert!(matches!(world.call(Access::Staff, &customer).await, Err(Refusal::StaffOnly)));
    let staff = format!("Bearer {}", world.token(&["staff"], LATER));
    assert!(world.call(Access::Staff, &staff).await.unwrap().is_some());
}
