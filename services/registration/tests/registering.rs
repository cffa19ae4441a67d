//! Opening accounts, and proving that one is one's own.
#![cfg(test)]

mod scene;

use std::time::Instant;

use event::Key;
use ledger::Outcome;
use millrace_registration::{Hashing, Passwords};
use proto::registration::v1::{LoginResponse, LoginSuccess, RegisterRequest, RegisterResponse, RegistrationNew};
use scene::{PASSWORD, Scene, ada, id};

#[tokio::test]
async fn an_account_is_opened_once_for_an_address_and_password() {
    let scene = Scene::open().await;
    let done = scene.register(ada()).await;
    let (opened, account) = (done.event::<RegistrationNew>(), done.completed::<RegisterResponse>().user_id);
    assert_eq!(
        (opened.user_id, opened.address.as_str(), opened.locale.as_str()),
        (account.clone(), "ada@example.org", "de-AT")
    );

    let again = scene.register(RegisterRequest { address: " ADA@example.org ".to_owned(), ..ada() }).await;
    assert_eq!(again.completed::<RegisterResponse>().user_id, account);
    assert_eq!(again.appended, []);
}

#[tokio::test]
async fn an_accounts_id_is_that_of_the_command_that_opened_it() {
    let scene = Scene::open().await;
    let command = scene.ledger.new_id();
    let done = scene.ledger.anonymous().under(command).send(ada()).await;
    assert_eq!(done.completed::<RegisterResponse>().user_id, command.to_string());
    assert_eq!(scene.ledger.events(&Key::new("account", command)).await, done.appended);
}

#[tokio::test]
async fn an_address_with_another_password_is_taken() {
    let scene = Scene::open().await;
    scene.register(ada()).await;
    let other = scene.register(RegisterRequest { password: "something else".to_owned(), ..ada() }).await;
    assert_eq!((other.rejected().code, other.reason().as_str()), (6, "ADDRESS_TAKEN"));
}

#[tokio::test]
async fn who_names_no_language_is_written_to_in_english() {
    let scene = Scene::open().await;
    let done = scene.register(RegisterRequest { locale: String::new(), ..ada() }).await;
    assert_eq!(done.event::<RegistrationNew>().locale, "en");
}

#[tokio::test]
async fn a_login_begins_a_session() {
    let scene = Scene::open().await;
    let account: RegisterResponse = scene.register(ada()).await.completed();
    let done = scene.login("Ada@Example.org", PASSWORD).await;
    let (begun, login) = (done.event::<LoginSuccess>(), done.completed::<LoginResponse>());
    assert_eq!((begun.user_id, begun.session_id), (account.user_id, login.session_id.clone()));
    assert_eq!(begun.expires_at_us - scene.ledger.now().0, 30 * 24 * 60 * 60 * 1_000_000);
    assert_eq!(done.appended[0].key, Key::new("session", id(&login.session_id)));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_answered_alike() {
    let scene = Scene::open().await;
    scene.register(ada()).await;
    let (wrong, unknown) =
        (scene.login("ada@example.org", "wrong").await, scene.login("eve@example.org", PASSWORD).await);
    assert_eq!(wrong.outcomes, unknown.outcomes);
    assert_eq!((wrong.rejected().code, wrong.reason().as_str()), (16, "WRONG_CREDENTIALS"));
}

#[tokio::test]
async fn every_way_to_register_and_to_log_in_hashes_once() {
    let scene = Scene::open().await;
    let other = || RegisterRequest { password: "something else".to_owned(), ..ada() };
    assert_eq!(scene.hashes(scene.register(ada())).await, 1, "new");
    assert_eq!(scene.hashes(scene.register(ada())).await, 1, "again");
    assert_eq!(scene.hashes(scene.register(other())).await, 1, "taken");
    assert_eq!(scene.hashes(scene.login("ada@example.org", PASSWORD)).await, 1, "right");
    assert_eq!(scene.hashes(scene.login("ada@example.org", "wrong")).await, 1, "wrong");
    assert_eq!(scene.hashes(scene.login("eve@example.org", "wrong")).await, 1, "unknown");
}

/// Printed and not judged: on a busy machine times prove nothing.
#[tokio::test]
async fn logins_of_known_and_unknown_addresses_take_as_long() {
    let scene = Scene::open().await;
    scene.register(ada()).await;
    for (case, address, password) in [
        ("right", "ada@example.org", PASSWORD),
        ("wrong", "ada@example.org", "wrong"),
        ("unknown", "eve@example.org", "wrong"),
    ] {
        let mut times = Vec::new();
        for _ in 0..9 {
            let began = Instant::now();
            scene.login(address, password).await;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        println!("a login, {case}: {:?} (median of {}, from {:?} to {:?})", times[4], times.len(), times[0], times[8]);
    }
}

#[tokio::test]
async fn a_login_replaces_a_hash_that_is_weaker_than_those_of_today() {
    let scene = Scene::open_with(weaker()).await;
    let again: RegisterResponse = scene.register(ada()).await.completed();
    let Scene { ledger, .. } = scene;
    // The same service with harder hashes, on the same database.
    let stronger = Passwords::default();
    let scene = Scene { ledger: ledger.restart(scene::registration(&stronger)).await, passwords: stronger };
    let login = || scene.login("ada@example.org", PASSWORD);
    assert_eq!(scene.hashes(login()).await, 2, "compared, and made anew");
    assert_eq!(scene.hashes(login()).await, 1, "strong now");
    assert_eq!(login().await.completed::<LoginResponse>().user_id, again.user_id);
}

fn weaker() -> Passwords {
    let strength = argon2::Params::new(1024, 1, 1, None).unwrap();
    Passwords::new(Hashing { strength, ..Hashing::default() })
}

#[tokio::test]
async fn when_too_many_passwords_wait_the_next_is_told_to_come_later() {
    let scene = Scene::open_with(Passwords::new(Hashing { at_once: 0, waiting: 0, ..Hashing::default() })).await;
    let done = scene.login("ada@example.org", PASSWORD).await;
    assert!(matches!(done.outcome(), Outcome::GivenBack { .. }), "{done:?}");
}

#[tokio::test]
async fn of_two_who_register_one_address_at_once_one_has_it_and_the_other_comes_again() {
    for scene in [Scene::open().await, Scene::on_postgres().await] {
        let anybody = scene.ledger.anonymous();
        let (one, two) = (anybody.delivery(ada()).await, anybody.delivery(ada()).await);
        let (one, two) = tokio::join!(scene.ledger.take_in(vec![one]), scene.ledger.take_in(vec![two]));
        let opened = [&one, &two].map(|done| done.events::<RegistrationNew>().len());
        assert_eq!(opened.iter().sum::<usize>(), 1, "{one:?} {two:?}");
        let again: RegisterResponse = scene.register(ada()).await.completed();
        let first: RegisterResponse = if opened[0] == 1 { one.completed() } else { two.completed() };
        assert_eq!(again, first);
    }
}
