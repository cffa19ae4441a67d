use async_nats::jetstream::Context;
use event::subject::{command_stream, event_stream};
use millrace::Role;
use testkit::within;

use super::shop::Shop;
use super::stories::PATIENCE;

/// The streams of a shop.
impl Shop {
    /// Services serve before their streams are there, because they must do so while the broker is away. A story begins after that: else
    /// what it takes to the broker would be a matter of time.
    pub(super) async fn streams_are_made(&self) {
        let broker = self.broker().await;
        for role in self.services().filter(|role| !(self.site.is_late() && *role == self.site.role)) {
            let has_commands = matches!(role, Role::User | Role::Order);
            let commands = has_commands.then(|| command_stream(&self.namespace, role.name()));
            for stream in commands.into_iter().chain([event_stream(&self.namespace, role.name())]) {
                let what = format!("{stream} is made");
                within(PATIENCE, &what, async || broker.get_stream(&stream).await.is_ok()).await;
            }
        }
    }

    /// Throws away what is on the streams of events.
    pub(super) async fn purge_events(&self) {
        let broker = self.broker().await;
        for role in self.services() {
            if let Ok(stream) = broker.get_stream(event_stream(&self.namespace, role.name())).await {
                stream.purge().await.unwrap();
            }
        }
    }

    /// Ends the processes, and takes its streams from the broker, which keeps room for all that a queue may ever hold.
    pub(super) async fn close(self) {
        let broker = self.broker().await;
        let streams = self.services().flat_map(|role| {
            [event_stream(&self.namespace, role.name()), command_stream(&self.namespace, role.name())]
        });
        let streams: Vec<_> = streams.collect();
        drop(self);
        for stream in streams {
            // Not every service has commands.
            let _ = broker.delete_stream(&stream).await;
        }
    }

    async fn broker(&self) -> Context {
        async_nats::jetstream::new(async_nats::connect(&self.nats_url).await.unwrap())
    }
}
