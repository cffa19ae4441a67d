//! Who is staff.
#![cfg(test)]

mod scene;

use event::Key;
use proto::registration::v1::{
    GrantStaffRequest, GrantStaffResponse, LoginResponse, RevokeStaffRequest, RevokeStaffResponse, StaffGranted,
    StaffRevoked, Tokens,
};
use scene::{Scene, id, verify};

fn grant(user_id: &str) -> GrantStaffRequest {
    GrantStaffRequest { user_id: user_id.to_owned(), author: "ana".to_owned() }
}

fn revoke(user_id: &str) -> RevokeStaffRequest {
    RevokeStaffRequest { user_id: user_id.to_owned(), author: "bob".to_owned() }
}

async fn roles(scene: &Scene, tokens: &Tokens) -> Vec<String> {
    verify(scene, tokens).await.unwrap().roles
}

#[tokio::test]
async fn who_is_made_staff_has_the_role_from_the_next_access_token_on_until_it_is_taken_away() {
    let scene = Scene::open().await;
    let login = scene.ada().await;
    let (user, old) = (login.user_id, login.tokens.unwrap());
    let operator = scene.ledger.service("operator");
    operator.send(grant(&user)).await.completed::<GrantStaffResponse>();
    assert!(roles(&scene, &old).await.is_empty());
    let refreshed = scene.refreshed(&old).await;
    assert_eq!(roles(&scene, &refreshed).await, ["staff"]);

    let scene = scene.restart().await;
    let again = scene.login("ada@example.org", scene::PASSWORD).await;
    let again = again.completed::<LoginResponse>().tokens.unwrap();
    assert_eq!(roles(&scene, &again).await, ["staff"]);
    scene.ledger.service("operator").send(revoke(&user)).await.completed::<RevokeStaffResponse>();
    assert!(roles(&scene, &scene.refreshed(&refreshed).await).await.is_empty());
}

#[tokio::test]
async fn who_decided_it_is_in_the_account_s_log_and_what_changes_nothing_is_not() {
    let scene = Scene::open().await;
    let user_id = scene.ada().await.user_id;
    let operator = scene.ledger.service("operator");
    assert!(operator.send(revoke(&user_id)).await.appended.is_empty(), "they are no staff yet");
    let granted = operator.send(grant(&user_id)).await;
    assert_eq!(granted.event::<StaffGranted>().author, "operator/ana");
    assert_eq!(granted.appended[0].key, Key::new("account", id(&user_id)));
    assert!(operator.send(grant(&user_id)).await.appended.is_empty());
    let revoked = operator.send(revoke(&user_id)).await.event::<StaffRevoked>();
    assert_eq!(revoked, StaffRevoked { user_id, author: "operator/bob".to_owned() });
}

#[tokio::test]
async fn users_decide_nothing_not_even_staff_and_nobody_is_staff_without_an_account() {
    let scene = Scene::open().await;
    let user = scene.ada().await.user_id;
    let staff = scene.ledger.user(id(&user)).with_role("staff");
    for done in [staff.send(grant(&user)).await, staff.send(revoke(&user)).await] {
        assert_eq!((done.rejected().code, done.reason().as_str()), (7, "OPERATORS_ONLY"));
    }
    let nobody = scene.ledger.new_id().to_string();
    let done = scene.ledger.service("operator").send(grant(&nobody)).await;
    assert_eq!((done.rejected().code, done.reason().as_str()), (5, "NO_SUCH_USER"));
}
