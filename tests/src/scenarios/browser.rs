//! What a page in a real browser can do, and what its browser keeps it from.

use millrace::Role;
use serde_json::json;

use crate::browser::Site;
use crate::shop::TestShop;
use crate::stranger::tally;

#[tokio::test]
async fn a_page_from_an_origin_that_is_allowed_can_do_the_whole_job() {
    let site = Site::open().await;
    let shop = TestShop::with(|settings| settings.allowed_origins = vec![site.origin()]).await;
    let told = site.shopping(shop.address(Role::Gateway)).await;
    assert_eq!(told["error"], json!(null), "{told}");
    assert_eq!(told["refused"], json!(["16", true]), "it is told why it is refused");
    for step in ["register", "login", "card", "placed", "again", "watched"] {
        assert_eq!(told[step], json!("0"), "{step}: {told}");
    }
    assert_eq!(told["orders"][0], told["orders"][1], "a retry is the same order");
    assert_eq!(told["seen"].as_array().unwrap().last(), Some(&json!(6)), "PAYMENT_FAILED: {told}");
}

#[tokio::test]
async fn a_page_from_an_origin_that_nobody_allowed_can_do_nothing() {
    let site = Site::open().await;
    let shop = TestShop::start().await;
    let before = tally(&shop).await;
    let told = site.shopping(shop.address(Role::Gateway)).await;
    assert!(told["error"].as_str().unwrap().contains("Failed to fetch"), "{told}");
    assert_eq!(tally(&shop).await, before);
}
