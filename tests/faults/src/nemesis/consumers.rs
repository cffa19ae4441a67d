use async_nats::jetstream::Context;
use futures::TryStreamExt as _;

/// Deletes the consumers of all streams, and tells how many there were. What cannot be reached at the moment stays.
pub(super) async fn delete_all(jetstream: &Context) -> usize {
    let names: Vec<String> = jetstream.stream_names().try_collect().await.unwrap_or_default();
    let mut deleted = 0;
    for name in names {
        let Ok(stream) = jetstream.get_stream(&name).await else { continue };
        let consumers: Vec<String> = stream.consumer_names().try_collect().await.unwrap_or_default();
        for consumer in consumers {
            deleted += usize::from(stream.delete_consumer(&consumer).await.is_ok());
        }
    }
    deleted
}
