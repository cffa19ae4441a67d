//! Sessions: their tokens, and how they end.
#![cfg(test)]

mod scene;

use std::time::Duration;

use event::{Id, Key, Micros};
use identity::{TokenError, TokenVerifier};
use proto::registration::v1::logout_success::Cause;
use proto::registration::v1::{LogoutRequest, LogoutResponse, LogoutSuccess, SigningKeyPublished};
use proto::user::v1::UserUpdated;
use scene::{PASSWORD, Scene, id, keys, verify};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn an_access_token_names_the_user_and_the_session_for_ten_minutes() {
    let scene = Scene::open().await;
    let login = scene.ada().await;
    let tokens = login.tokens.unwrap();
    let claims = verify(&scene, &tokens).await.unwrap();
    assert_eq!((claims.user, claims.session), (id(&login.user_id), id(&login.session_id)));
    let expires: Micros = tokens.access_expire_time.unwrap().try_into().unwrap();
    assert_eq!(expires, scene.ledger.now().plus(10 * MINUTE));
    scene.ledger.advance(11 * MINUTE);
    assert_eq!(verify(&scene, &tokens).await, Err(TokenError::Expired));
}

#[tokio::test]
async fn a_refresh_gives_a_new_pair_for_the_same_session() {
    let scene = Scene::open().await;
    let login = scene.ada().await;
    let old = login.tokens.unwrap();
    scene.ledger.advance(DAY);
    let new = scene.refreshed(&old).await;
    assert_ne!(new.refresh_token, old.refresh_token);
    assert_eq!(verify(&scene, &new).await.unwrap().session, id(&login.session_id));
    assert_eq!(new.session_expire_time, old.session_expire_time);
    scene.refreshed(&new).await;
}

#[tokio::test]
async fn a_client_whose_answer_was_lost_refreshes_with_the_same_token_again() {
    let scene = Scene::open().await;
    let old = scene.ada().await.tokens.unwrap();
    for _ in 0..3 {
        scene.refreshed(&old).await;
    }
    let new = scene.refreshed(&old).await;
    scene.refreshed(&new).await;
}

#[tokio::test]
async fn a_token_that_was_replaced_by_one_that_was_used_ends_the_session() {
    let scene = Scene::open().await;
    let login = scene.ada().await;
    let stolen = login.tokens.unwrap();
    let next = scene.refreshed(&stolen).await;
    let newest = scene.refreshed(&next).await;

    let done = scene.refresh(&stolen.refresh_token).await;
    assert_eq!((done.rejected().code, done.reason().as_str()), (16, "INVALID_REFRESH_TOKEN"));
    let ended = done.event::<LogoutSuccess>();
    assert_eq!((ended.cause(), &ended.session_id), (Cause::ReusedToken, &login.session_id));
    assert_eq!(ended.ended_at_us, scene.ledger.now().0);
    assert_eq!(scene.ledger.events(&Key::new("session", id(&login.session_id))).await.len(), 2, "it is committed");
    assert_eq!(scene.refresh(&newest.refresh_token).await.reason(), "INVALID_REFRESH_TOKEN");
}

#[tokio::test]
async fn whatever_is_wrong_with_a_refresh_token_is_answered_alike() {
    let scene = Scene::open().await;
    let login = scene.ada().await;
    let good = login.tokens.clone().unwrap().refresh_token;
    let altered = format!("{}{}", if good.starts_with('A') { 'B' } else { 'A' }, &good[1..]);
    let outcome = scene.refresh("nonsense").await.outcomes;
    assert_eq!(scene.refresh(&altered).await.outcomes, outcome, "of no session");
    let forged = format!("{}{}", &good[..30], "A".repeat(40));
    assert_eq!(scene.refresh(&forged).await.outcomes, outcome, "of a session, with a secret that was made up");
    scene.refreshed(&login.tokens.clone().unwrap()).await;
    scene.logout(&login).await;
    assert_eq!(scene.refresh(&good).await.outcomes, outcome, "of a session that has ended");
}

#[tokio::test]
async fn a_session_cannot_be_refreshed_beyond_its_end() {
    let scene = Scene::open().await;
    let tokens = scene.ada().await.tokens.unwrap();
    scene.ledger.advance(29 * DAY + Duration::from_mins(24 * 60 - 1));
    let last = scene.refreshed(&tokens).await;
    assert_eq!(last.access_expire_time, last.session_expire_time);
    scene.ledger.advance(MINUTE);
    assert_eq!(scene.refresh(&last.refresh_token).await.reason(), "INVALID_REFRESH_TOKEN");
}

#[tokio::test]
async fn a_logout_ends_the_session_and_can_be_said_again() {
    let scene = Scene::open().await;
    let login = scene.ada().await;
    let done = scene.logout(&login).await;
    assert_eq!(done.event::<LogoutSuccess>().cause(), Cause::Logout);
    let again = scene.logout(&login).await;
    assert_eq!(again.completed::<LogoutResponse>(), done.completed());
    assert_eq!(again.appended, []);
}

#[tokio::test]
async fn a_logout_leaves_the_other_sessions_alone() {
    let scene = Scene::open().await;
    let login = scene.ada().await;
    let other: proto::registration::v1::LoginResponse = scene.login("ada@example.org", PASSWORD).await.completed();
    scene.logout(&login).await;
    scene.refreshed(&other.tokens.unwrap()).await;
}

#[tokio::test]
async fn who_has_no_session_cannot_log_out() {
    let scene = Scene::open().await;
    let done = scene.ledger.user(scene.ledger.new_id()).send(LogoutRequest {}).await;
    assert_eq!(done.reason(), "NO_SESSION");
}

#[tokio::test]
async fn there_is_a_signing_key_from_the_start_and_it_is_published() {
    let scene = Scene::open().await;
    let keys = keys(&scene).await.keys;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].public_key.len(), 32);
}

#[tokio::test]
async fn a_new_signing_key_is_drawn_when_the_newest_is_old_and_signs_when_it_is_known() {
    let mut scene = Scene::open().await;
    let first = keys(&scene).await.keys[0].key_id.clone();
    for (wait, drawn) in [(29 * DAY, 1), (DAY, 2), (DAY, 2)] {
        scene.ledger.advance(wait);
        scene = scene.restart().await;
        assert_eq!(keys(&scene).await.keys.len(), drawn);
    }
    assert_eq!(keys(&scene).await.keys[1].key_id, first, "the newest comes first");
}

#[tokio::test]
async fn signing_keys_are_renewed_while_the_service_runs() {
    let scene = Scene::open().await;
    for (wait, drawn) in [(29 * DAY, 1), (DAY, 2), (29 * DAY, 2), (DAY, 3)] {
        scene.ledger.advance(wait);
        scene.ledger.fire_timers().await;
        assert_eq!(keys(&scene).await.keys.len(), drawn);
    }
    scene.ledger.advance(30 * DAY);
    assert_eq!(scene.ledger.fire_timers().await.event::<SigningKeyPublished>().public_key.len(), 32);
}

#[tokio::test]
async fn a_new_signing_key_signs_nothing_before_everybody_has_heard_of_it() {
    let scene = Scene::open().await;
    let signed_by = async |scene: &Scene| {
        let tokens =
            scene.login("ada@example.org", PASSWORD).await.completed::<proto::registration::v1::LoginResponse>().tokens;
        let known = [keys(scene).await.keys.last().unwrap().clone()];
        let known = known.map(|key| (key.key_id, key.public_key.as_ref().try_into().unwrap()));
        TokenVerifier::new(known).verify(&tokens.unwrap().access_token, scene.ledger.now()).is_ok()
    };
    scene.ada().await;
    scene.ledger.advance(30 * DAY);
    let scene = scene.restart().await;
    assert!(signed_by(&scene).await, "by the old one");
    scene.ledger.advance(10 * MINUTE);
    assert!(!signed_by(&scene).await, "by the new one");
}

#[tokio::test]
async fn a_signing_keys_event_tells_its_public_half() {
    let scene = Scene::open().await;
    scene.ledger.advance(30 * DAY);
    let done = scene.ledger.service("registration").send(proto::registration::v1::EnsureSigningKeyRequest {}).await;
    let published = done.event::<SigningKeyPublished>();
    assert_eq!(keys(&scene).await.keys[0].public_key, published.public_key);
}

#[tokio::test]
async fn the_language_of_a_profile_is_noted() {
    let scene = Scene::open().await;
    let user = Id::timed(1, [1; 10]);
    let updated =
        |locale: &str| UserUpdated { user_id: user.to_string(), locale: locale.to_owned(), ..Default::default() };
    for locale in ["de-AT", "fr"] {
        let done = scene.ledger.hear(user, &updated(locale)).await;
        assert_eq!(done.outcome(), &ledger::Outcome::Applied);
    }
}

#[tokio::test]
async fn all_of_it_works_on_postgres_too() {
    let scene = Scene::on_postgres().await;
    let login = scene.ada().await;
    let first = login.tokens.clone().unwrap();
    let second = scene.refreshed(&first).await;
    scene.refreshed(&second).await;
    assert_eq!(scene.refresh(&first.refresh_token).await.event::<LogoutSuccess>().cause(), Cause::ReusedToken);
    assert_eq!(scene.logout(&login).await.completed::<LogoutResponse>(), LogoutResponse::default());
}
