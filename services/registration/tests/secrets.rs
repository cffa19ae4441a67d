//! What must be nowhere: the raw bytes of everything that is kept are searched.
#![cfg(test)]

mod scene;

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::registration::v1::{RefreshResponse, RegisterRequest, Tokens};
use scene::{Scene, ada};

const CANARY: &str = "canary-in-a-password";

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// The texts of the tokens, and what the refresh token's says.
fn needles(tokens: &[Tokens]) -> Vec<Vec<u8>> {
    let mut needles = vec![CANARY.as_bytes().to_vec()];
    for tokens in tokens {
        let refresh = URL_SAFE_NO_PAD.decode(&tokens.refresh_token).unwrap();
        needles.extend([refresh[20..36].to_vec(), refresh[36..].to_vec()]);
        needles.extend([tokens.access_token.clone().into_bytes(), tokens.refresh_token.clone().into_bytes()]);
    }
    needles
}

fn files(scene: &Scene) -> Vec<PathBuf> {
    fs::read_dir(scene.ledger.folder()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn no_password_and_no_token_is_in_an_event_a_receipt_or_a_table() {
    let scene = Scene::open().await;
    let register = || RegisterRequest { password: CANARY.to_owned(), ..ada() };
    let mut appended = scene.register(register()).await.appended;
    appended.extend(scene.register(register()).await.appended);
    let login = scene.login("ada@example.org", CANARY).await;
    let first = login.completed::<proto::registration::v1::LoginResponse>().tokens.unwrap();
    let refresh = scene.refresh(&first.refresh_token).await;
    let second = refresh.completed::<RefreshResponse>().tokens.unwrap();
    appended.extend(login.appended);
    appended.extend(refresh.appended);

    let kept: Vec<u8> = files(&scene).iter().flat_map(|file| fs::read(file).unwrap()).collect();
    assert!(contains(&kept, b"ada@example.org"), "the search finds what is there");
    for needle in needles(&[first, second]) {
        assert!(!contains(&kept, &needle), "{}", String::from_utf8_lossy(&needle));
        assert!(appended.iter().all(|record| !contains(&record.body, &needle)));
    }
}

#[tokio::test]
async fn a_request_that_is_printed_shows_no_secret_and_nothing_personal() {
    let printed = format!("{:?} {:?}", ada(), scene::credentials("ada@example.org", CANARY));
    assert!(!printed.contains(CANARY) && !printed.contains(scene::PASSWORD) && !printed.contains("ada@"), "{printed}");
}
