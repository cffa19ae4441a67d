use event::{Key, subject};
use futures::Stream;
use futures::stream::{self, StreamExt as _};

use crate::Streams;

/// Rings whenever an event of the key is published, by whichever instance; and for nobody once it is dropped.
///
/// A plain subscription to the subjects that the events have anyway: it costs nothing while nobody watches, the broker keeps nothing for
/// it, and while the broker is away it says nothing. So whoever listens looks into the log now and then anyway.
pub async fn rings(streams: &Streams, domain: &str, key: &Key) -> impl Stream<Item = ()> + Send + Sync + use<> {
    let subject = subject::of_key(&streams.broker.namespace, domain, key);
    match streams.client.subscribe(subject).await {
        Ok(published) => published.map(drop).left_stream(),
        Err(error) => {
            tracing::debug!(%error, %key, "nothing will ring");
            stream::empty().right_stream()
        }
    }
}
