use event::{Id, Key};
use futures::{Stream, stream};
use ledger::{Aggregate as _, Error, Result};
use proto::order::v1::{WatchOrderRequest, WatchOrderResponse};
use serve::Watch;

use super::own_order;
use crate::domain::{Order, is_settled};
use crate::error::id_in;

/// Ends well only once nothing will happen to the order any more. A PROCESSED order is watched on, because the goods are still to come,
/// and a canceled one until its money is settled.
pub(crate) async fn watch_order(
    watch: Watch,
    request: WatchOrderRequest,
) -> Result<impl Stream<Item = Result<WatchOrderResponse>> + Send + 'static> {
    let id = id_in("order_id", &request.order_id)?;
    // Refuses a stranger before the stream begins.
    own_order(&watch.reader().await?, id).await?;
    let watching = Watching { watch, id, seen: request.after_revision };
    Ok(stream::try_unfold(watching, Watching::next))
}

struct Watching {
    watch: Watch,
    id: Id,
    /// The last revision that the client has.
    seen: i64,
}

impl Watching {
    async fn next(mut self) -> Result<Option<(WatchOrderResponse, Self)>> {
        let key = Key::new(Order::KIND, self.id);
        loop {
            let order = own_order(&self.watch.reader().await?, self.id).await?;
            if order.revision > self.seen {
                self.seen = order.revision;
                return Ok(Some((WatchOrderResponse { order: Some(order) }, self)));
            }
            if is_settled(order.status(), order.payment_status()) {
                return Ok(None);
            }
            if !self.watch.changed(&key).await {
                // Not the end of the story: the client is to watch on at another instance.
                return Err(Error::Transient("the service is stopping".to_owned()));
            }
        }
    }
}
