//! One suite of what a broker does, which the simulation's and the real one both pass: the services are simulated on a broker that can do
//! what JetStream does, and no less. The real one is a nats-server, with the streams and the consumers that production makes on it; in the
//! simulation each check runs with many seeds, and no time passes.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests report by panicking")]
#![expect(clippy::future_not_send, reason = "each test stays on one thread")]

mod broker;
mod jetstream;
mod simulated;

/// Makes two tests of each check: one on either broker.
macro_rules! on_both {
    ($($check:ident),+ $(,)?) => {
        $(mod $check {
            #[tokio::test(start_paused = true)]
            async fn in_the_simulation() {
                for seed in 0..crate::simulated::SEEDS {
                    super::$check(&crate::simulated::Simulated::new(seed)).await;
                }
            }

            #[tokio::test]
            async fn on_jetstream() {
                super::$check(&crate::jetstream::JetStream::start().await).await;
            }
        })+
    };
}

mod delivery;
mod patience;
mod queue;
mod restart;
mod stream;
mod wire;
