//! The broker that tests get is real, and can be taken away and brought back.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use async_nats::jetstream;
use millrace_testkit::{NatsServer, eventually_some};

async fn jetstream_of(server: &NatsServer) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

async fn publish_one(server: &NatsServer) {
    let jetstream = jetstream_of(server).await;
    let config =
        jetstream::stream::Config { name: "KEPT".into(), subjects: vec!["kept.>".into()], ..Default::default() };
    jetstream.create_stream(config).await.unwrap();
    jetstream.publish("kept.one", "1".into()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_stream_survives_a_kill_and_a_restart_on_the_same_port() {
    let server = NatsServer::start().await;
    let url = server.url();
    publish_one(&server).await;

    server.kill();
    assert!(async_nats::connect(&url).await.is_err());
    server.restart().await;

    assert_eq!(server.url(), url);
    let stream = jetstream_of(&server).await.get_stream("KEPT").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 1);
}

#[tokio::test]
async fn a_stream_survives_an_orderly_stop() {
    let server = NatsServer::start().await;
    publish_one(&server).await;
    server.stop().await;
    server.restart().await;
    let stream = jetstream_of(&server).await.get_stream("KEPT").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 1);
}

#[tokio::test]
async fn a_wiped_server_comes_back_empty() {
    let server = NatsServer::start().await;
    publish_one(&server).await;
    server.wipe();
    server.restart().await;
    assert!(jetstream_of(&server).await.get_stream("KEPT").await.is_err());
}

#[tokio::test]
async fn a_client_that_stays_finds_the_restarted_server() {
    let server = NatsServer::start().await;
    publish_one(&server).await;
    let jetstream = jetstream_of(&server).await;
    server.restart().await;
    let stream =
        eventually_some("the client reaches the stream again", async || jetstream.get_stream("KEPT").await.ok()).await;
    assert_eq!(stream.cached_info().state.messages, 1);
}

#[tokio::test]
async fn two_servers_share_nothing() {
    let (one, other) = tokio::join!(NatsServer::start(), NatsServer::start());
    publish_one(&one).await;
    assert_ne!(one.url(), other.url());
    assert!(jetstream_of(&other).await.get_stream("KEPT").await.is_err());
}
