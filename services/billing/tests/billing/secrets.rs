use ledger::{Caller, Reader};
use sea_orm::{ConnectionTrait as _, DatabaseBackend, Statement};

use crate::shop::Shop;

const CANARY: &str = "canary-7f3a91";

async fn texts(reader: &Reader, sql: &str, column: &str) -> Vec<String> {
    let rows = reader.db().query_all_raw(Statement::from_string(DatabaseBackend::Sqlite, sql)).await;
    rows.expect("the database can be read").iter().map(|row| row.try_get("", column).expect("it is a text")).collect()
}

/// The columns of all tables that hold the canary in any row.
async fn columns_with_the_canary(reader: &Reader) -> Vec<String> {
    let mut found = Vec::new();
    for table in texts(reader, "select name from sqlite_master where type = 'table'", "name").await {
        for column in texts(reader, &format!("select name from pragma_table_info('{table}')"), "name").await {
            let holds = format!("instr(cast(\"{column}\" as blob), cast('{CANARY}' as blob)) > 0");
            let sql = format!("select 'found' as it from \"{table}\" where {holds} limit 1");
            if !texts(reader, &sql, "it").await.is_empty() {
                found.push(format!("{table}.{column}"));
            }
        }
    }
    found
}

#[tokio::test]
async fn a_card_token_is_in_one_column_of_one_table_and_nowhere_else() {
    let shop = Shop::open().await;
    for kind in ["tok_approved", "tok_declined", "tok_timeout", "tok_late"] {
        let order = shop.order(&shop.card(&format!("{kind}:{CANARY}")).await).await;
        shop.settle().await;
        shop.cancel(order).await;
        shop.settle().await;
    }
    shop.ledger.user(shop.anna).send(crate::shop::add(&format!("tok_unknown:{CANARY}"))).await.rejected();
    let reader = shop.ledger.ledger().reader(Caller::default()).await.expect("the database can be read");
    assert_eq!(columns_with_the_canary(&reader).await, ["payment_method.card_token"]);
}

#[tokio::test]
async fn the_provider_keeps_how_a_card_behaves_and_not_its_token() {
    let shop = Shop::open().await;
    shop.order(&shop.card(&format!("tok_approved:{CANARY}")).await).await;
    shop.settle().await;
    for file in shop.books.path().read_dir().expect("the folder can be read") {
        let bytes = std::fs::read(file.expect("it can be read").path()).expect("the file can be read");
        assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()));
    }
}

#[test]
fn a_card_token_does_not_show_itself() {
    let token = millrace_billing::CardToken::new(CANARY.to_owned());
    let request = crate::shop::add(CANARY);
    assert!(!format!("{token:?} {request:?}").contains(CANARY));
}
