//! Profiles: they appear with their account, and their owners change them.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use event::{Id, Key, Micros, Schema};
use ledger::{Code, Outcome};
use millrace_user::service;
use prost_types::FieldMask;
use proto::registration::v1::logout_success::Cause;
use proto::registration::v1::{LogoutSuccess, RegistrationNew};
use proto::user::v1::{
    GetProfileRequest, GetProfileResponse, Profile, UpdateProfileRequest, UpdateProfileResponse, UserUpdated,
};
use testkit::{Done, TestLedger};

struct Scene {
    ledger: TestLedger,
    ada: Id,
}

impl Scene {
    /// Ada has registered, and her profile has appeared.
    async fn open() -> Self {
        Self::on(TestLedger::open(service(Arc::new(Schema::embedded().unwrap()))).await).await
    }

    async fn on(ledger: TestLedger) -> Self {
        let ada = ledger.new_id();
        ledger.hear(ada, &registration(ada)).await;
        Self { ledger, ada }
    }

    async fn get(&self, user: Id, user_id: &str) -> Result<Profile, (Code, &'static str)> {
        let request = GetProfileRequest { user_id: user_id.to_owned() };
        let answer = self.ledger.user(user).ask::<_, GetProfileResponse>(request).await;
        answer.map(|answer| answer.profile.unwrap()).map_err(|refusal| (refusal.code, refusal.reason))
    }

    async fn profile(&self) -> Profile {
        self.get(self.ada, "").await.unwrap()
    }

    async fn update(&self, profile: Profile, mask: &[&str]) -> Done {
        self.ledger.user(self.ada).send(request(profile, mask)).await
    }
}

fn registration(id: Id) -> RegistrationNew {
    RegistrationNew {
        user_id: id.to_string(),
        address: "ada@example.org".to_owned(),
        display_name: "Ada".to_owned(),
        country: "AT".to_owned(),
        locale: "de-AT".to_owned(),
    }
}

/// No paths: no mask.
fn request(profile: Profile, paths: &[&str]) -> UpdateProfileRequest {
    let mask = FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
    UpdateProfileRequest { profile: Some(profile), update_mask: (!paths.is_empty()).then_some(mask) }
}

fn named(display_name: &str) -> Profile {
    Profile { display_name: display_name.to_owned(), ..Profile::default() }
}

#[tokio::test]
async fn a_profile_appears_because_an_account_was_opened() {
    let scene = Scene::open().await;
    let profile = scene.profile().await;
    assert_eq!(profile.user_id, scene.ada.to_string());
    assert_eq!([profile.display_name, profile.country, profile.locale], ["Ada", "AT", "de-AT"]);
    assert_eq!(profile.create_time, Some(scene.ledger.now().into()));
    assert_eq!(profile.update_time, profile.create_time);
}

#[tokio::test]
async fn the_event_of_a_profile_carries_all_of_it_and_is_the_doing_of_who_registered() {
    let scene = Scene::open().await;
    let done = scene.update(named("Countess"), &[]).await;
    let (updated, ada) = (done.event::<UserUpdated>(), scene.ada.to_string());
    assert_eq!(
        [updated.user_id, updated.display_name, updated.country, updated.locale],
        [&*ada, "Countess", "AT", "de-AT"]
    );
    let events = scene.ledger.events(&Key::new("user", scene.ada)).await;
    assert_eq!((events.len(), events[0].cause_id.is_some(), &events[1].principal), (2, true, &format!("user/{ada}")));
}

#[tokio::test]
async fn an_account_that_is_heard_of_twice_makes_one_profile() {
    let scene = Scene::open().await;
    let other = scene.ledger.new_id();
    let opened = scene.ledger.tell(other, &registration(other));
    assert_eq!(scene.ledger.deliver(opened.clone()).await.events::<UserUpdated>().len(), 1);
    assert_eq!(scene.ledger.deliver(opened).await.outcome(), &Outcome::Duplicate);
}

#[tokio::test]
async fn a_profile_is_for_its_owner_alone() {
    let scene = Scene::open().await;
    let (eve, ada, nobody) = (scene.ledger.new_id(), scene.ada.to_string(), scene.ledger.new_id().to_string());
    assert!(scene.get(scene.ada, &ada).await.is_ok());
    assert_eq!(scene.get(eve, &ada).await, Err((Code::PermissionDenied, "PROFILE_NOT_YOURS")));
    assert_eq!(scene.get(eve, &nobody).await, Err((Code::PermissionDenied, "PROFILE_NOT_YOURS")));
    assert_eq!(scene.get(eve, "nonsense").await, Err((Code::InvalidArgument, "INVALID_FIELD")));
    assert_eq!(scene.get(eve, "").await, Err((Code::NotFound, "PROFILE_NOT_FOUND")));
}

#[tokio::test]
async fn someone_elses_profile_cannot_be_changed() {
    let scene = Scene::open().await;
    let others = Profile { user_id: scene.ada.to_string(), ..named("Eve") };
    let done = scene.ledger.user(scene.ledger.new_id()).send(request(others, &[])).await;
    assert_eq!((done.rejected().code, done.reason().as_str()), (7, "PROFILE_NOT_YOURS"));
    assert_eq!(scene.profile().await.display_name, "Ada");
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names_and_nothing_else() {
    let scene = Scene::open().await;
    let new = Profile { country: "DE".to_owned(), locale: "fr".to_owned(), ..named("Countess") };
    scene.ledger.advance(Duration::from_secs(1));
    let updated: UpdateProfileResponse = scene.update(new, &["country"]).await.completed();
    let profile = updated.profile.unwrap();
    assert_eq!([&*profile.display_name, &*profile.country, &*profile.locale], ["Ada", "DE", "de-AT"]);
    assert_ne!(profile.update_time, profile.create_time);
    assert_eq!(profile, scene.profile().await);
}

#[tokio::test]
async fn without_a_mask_what_is_not_empty_is_changed_and_with_a_star_everything() {
    let scene = Scene::open().await;
    scene.update(named("Countess"), &[]).await;
    assert_eq!(scene.profile().await.country, "AT");
    scene.update(Profile { country: "DE".to_owned(), ..named("Lady") }, &["*"]).await;
    let profile = scene.profile().await;
    assert_eq!([profile.display_name, profile.country, profile.locale], ["Lady", "DE", "en"]);
}

#[tokio::test]
async fn what_cannot_be_changed_or_must_not_be_empty_is_refused_by_field() {
    let scene = Scene::open().await;
    for (paths, field) in [
        (&["country", "etag"], "update_mask"),
        (&["locale", "country"], "profile.country"),
        (&["display_name", "locale"], "profile.display_name"),
    ] {
        let refused = scene.update(Profile::default(), paths).await.rejected();
        assert_eq!((refused.code, refused.fields.into_iter().collect::<Vec<_>>()), (3, vec![field.to_owned()]));
    }
}

#[tokio::test]
async fn an_etag_lets_a_change_through_only_if_nobody_was_faster() {
    let scene = Scene::open().await;
    let read = scene.profile().await;
    let first = Profile { etag: read.etag.clone(), ..named("First") };
    let second = Profile { etag: read.etag, ..named("Second") };
    scene.update(first, &[]).await.completed::<UpdateProfileResponse>();
    let refused = scene.update(second, &[]).await;
    assert_eq!((refused.rejected().code, refused.reason().as_str()), (10, "ETAG_MISMATCH"));
    assert_eq!(scene.profile().await.display_name, "First");
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_no_event_and_leaves_the_etag() {
    let scene = Scene::open().await;
    let before = scene.profile().await;
    let done = scene.update(named("Ada"), &["display_name"]).await;
    assert_eq!(done.appended, []);
    assert_eq!(done.completed::<UpdateProfileResponse>().profile, Some(before));
}

#[tokio::test]
async fn a_retry_under_the_same_id_changes_nothing_and_is_answered_alike() {
    let scene = Scene::open().await;
    let client = scene.ledger.user(scene.ada).under(scene.ledger.new_id());
    let first = client.send(request(named("Countess"), &[])).await;
    scene.update(named("Lady"), &[]).await;
    let again = client.send(request(named("Countess"), &[])).await;
    assert_eq!(again.completed::<UpdateProfileResponse>(), first.completed());
    assert_eq!((again.appended, scene.profile().await.display_name), (Vec::new(), "Lady".to_owned()));
}

#[tokio::test]
async fn an_update_waits_for_a_profile_that_has_not_appeared_yet() {
    let scene = Scene::open().await;
    let early = scene.ledger.new_id();
    let client = scene.ledger.user(early).under(scene.ledger.new_id());
    let done = client.send(request(named("Early"), &[])).await;
    assert!(matches!(done.outcome(), Outcome::GivenBack { .. }), "{done:?}");
    scene.ledger.hear(early, &registration(early)).await;
    client.send(request(named("Early"), &[])).await.completed::<UpdateProfileResponse>();
    assert_eq!(scene.get(early, "").await.unwrap().display_name, "Early");
}

#[tokio::test]
async fn a_session_that_has_ended_is_refused() {
    let scene = Scene::open().await;
    let session = scene.ledger.new_id();
    let Micros(ended_at_us) = scene.ledger.now();
    let (session_id, user_id, cause) = (session.to_string(), scene.ada.to_string(), Cause::Logout.into());
    scene.ledger.hear(session, &LogoutSuccess { session_id, user_id, cause, ended_at_us }).await;
    let client = scene.ledger.user(scene.ada).in_session(session);
    assert_eq!(client.send(request(named("Eve"), &[])).await.reason(), "SESSION_ENDED");
    let asked = client.ask::<_, GetProfileResponse>(GetProfileRequest::default()).await;
    assert_eq!(asked.unwrap_err().code, Code::Unauthenticated);
}

#[tokio::test]
async fn all_of_it_works_on_postgres_too() {
    let ledger = TestLedger::on_postgres(service(Arc::new(Schema::embedded().unwrap()))).await;
    let scene = Scene::on(ledger).await;
    scene.update(named("Countess"), &[]).await.completed::<UpdateProfileResponse>();
    assert_eq!(scene.profile().await.display_name, "Countess");
}
