//! A registration service, and the people who come to it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;

use event::{Id, Schema};
use identity::{Claims, TokenError, TokenVerifier};
use millrace_registration::{Passwords, Settings, service};
use proto::registration::v1::{
    ListSigningKeysRequest, ListSigningKeysResponse, LoginRequest, LoginResponse, LogoutRequest, RefreshRequest,
    RefreshResponse, RegisterRequest, RegisterResponse, Tokens,
};
use serve::Service;
use testkit::{Done, TestLedger};

pub const PASSWORD: &str = "correct horse battery staple";

pub struct Scene {
    pub ledger: TestLedger,
    pub passwords: Passwords,
}

pub fn schema() -> Arc<Schema> {
    Arc::new(Schema::embedded().unwrap())
}

pub fn registration(passwords: &Passwords) -> Service {
    service(schema(), Settings { passwords: passwords.clone(), ..Settings::default() })
}

pub fn ada() -> RegisterRequest {
    RegisterRequest {
        address: "ada@example.org".to_owned(),
        password: PASSWORD.to_owned(),
        display_name: "Ada".to_owned(),
        country: "AT".to_owned(),
        locale: "de-AT".to_owned(),
    }
}

pub fn credentials(address: &str, password: &str) -> LoginRequest {
    LoginRequest { address: address.to_owned(), password: password.to_owned(), device_name: String::new() }
}

impl Scene {
    pub async fn open() -> Self {
        Self::open_with(Passwords::default()).await
    }

    pub async fn open_with(passwords: Passwords) -> Self {
        Self { ledger: TestLedger::open(registration(&passwords)).await, passwords }
    }

    pub async fn on_postgres() -> Self {
        let passwords = Passwords::default();
        Self { ledger: TestLedger::on_postgres(registration(&passwords)).await, passwords }
    }

    /// Stops the service and starts it again on the same database.
    pub async fn restart(self) -> Self {
        Self { ledger: self.ledger.restart(registration(&self.passwords)).await, passwords: self.passwords }
    }

    pub async fn register(&self, request: RegisterRequest) -> Done {
        self.ledger.anonymous().send(request).await
    }

    pub async fn login(&self, address: &str, password: &str) -> Done {
        self.ledger.anonymous().send(credentials(address, password)).await
    }

    /// Registers Ada and logs her in.
    pub async fn ada(&self) -> LoginResponse {
        self.register(ada()).await.completed::<RegisterResponse>();
        self.login("ada@example.org", PASSWORD).await.completed()
    }

    pub async fn refresh(&self, refresh_token: &str) -> Done {
        self.ledger.anonymous().send(RefreshRequest { refresh_token: refresh_token.to_owned() }).await
    }

    /// Refreshes with a token that is good.
    pub async fn refreshed(&self, tokens: &Tokens) -> Tokens {
        self.refresh(&tokens.refresh_token).await.completed::<RefreshResponse>().tokens.unwrap()
    }

    pub async fn logout(&self, login: &LoginResponse) -> Done {
        let client = self.ledger.user(id(&login.user_id)).in_session(id(&login.session_id));
        client.send(LogoutRequest {}).await
    }

    /// How many hashes a command costs.
    pub async fn hashes(&self, command: impl Future<Output = Done>) -> u64 {
        let before = self.passwords.computed();
        command.await;
        self.passwords.computed() - before
    }
}

pub fn id(text: &str) -> Id {
    text.parse().unwrap()
}

pub async fn keys(scene: &Scene) -> ListSigningKeysResponse {
    scene.ledger.service("gateway").ask(ListSigningKeysRequest {}).await.unwrap()
}

/// What the gateway makes of an access token, knowing the keys that are listed.
pub async fn verify(scene: &Scene, tokens: &Tokens) -> Result<Claims, TokenError> {
    let keys = keys(scene).await.keys.into_iter();
    let keys = keys.map(|key| (key.key_id, key.public_key.as_ref().try_into().unwrap()));
    TokenVerifier::new(keys).verify(&tokens.access_token, scene.ledger.now()).map(|claims| (*claims).clone())
}
