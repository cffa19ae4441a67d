use std::env;

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database};
use uuid::Uuid;

/// The PostgreSQL server that `scripts/postgres` starts around the tests.
#[derive(Debug)]
pub struct Postgres;

impl Postgres {
    /// The URL of a fresh, empty database. It is left behind: the server that holds it is thrown away after the tests, and on a server of
    /// one's own it can be looked at (its name begins with `millrace_test_`).
    pub async fn database() -> String {
        let server = env::var("MILLRACE_TEST_POSTGRES_URL").unwrap_or_else(|_| {
            panic!("MILLRACE_TEST_POSTGRES_URL names no server: run `make test`, or put `scripts/postgres` before the command")
        });
        let (prefix, suffix) = split_at_database(&server);
        #[expect(clippy::disallowed_methods, reason = "a name that no other test run has; nothing is decided by it")]
        let name = format!("millrace_test_{}", Uuid::now_v7().simple());

        let mut options = ConnectOptions::new(&server);
        options.max_connections(1).sqlx_logging(false);
        let connection = Database::connect(options).await.expect("MILLRACE_TEST_POSTGRES_URL must be reachable");
        // template0, because nobody can be connected to it, and PostgreSQL does not copy a database that is in use.
        connection
            .execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE template0"))
            .await
            .expect("the user of MILLRACE_TEST_POSTGRES_URL must be allowed to create databases");
        connection.close().await.expect("a connection can be closed");
        format!("{prefix}/{name}{suffix}")
    }
}

/// What stands before and after the database's name in a URL.
fn split_at_database(url: &str) -> (&str, &str) {
    let (address, parameters) = url.split_at(url.find('?').unwrap_or(url.len()));
    let authority = address.find("://").map_or(0, |at| at + 3);
    let end = address[authority..].find('/').map_or(address.len(), |at| authority + at);
    (&address[..end], parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_around_the_database() {
        assert_eq!(
            split_at_database("postgres://u:p@h:1/db?sslmode=disable"),
            ("postgres://u:p@h:1", "?sslmode=disable")
        );
        assert_eq!(split_at_database("postgres://h"), ("postgres://h", ""));
    }
}
