//! Commands through a gateway: over the queue, past it, and found again.

use std::time::Duration;

use crate::world::owner::REJECTED_QUANTITY;
use crate::world::{World, details, id, order, reason, receipt, with};
use proto::Message as _;
use proto::command::v1::get_command_response::Outcome;
use proto::command::v1::{State, WaitCommandRequest, wait_command_response};
use proto::order::v1::PlaceOrderResponse;
use testkit::eventually;
use tonic::{Code, Request};

async fn place(world: &World, key: &str, quantity: i32) -> Result<PlaceOrderResponse, tonic::Status> {
    let request = with(world.call(order(quantity)), "idempotency-key", key);
    world.orders().place_order(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_command_goes_through_the_queue_and_is_answered_with_its_outcome() {
    let world = World::with_queue().await;
    world.answer_commands().await;
    let answer = place(&world, "k", 1).await.unwrap();
    let receipt = answer.receipt.unwrap();
    let id = answer.order.unwrap().order_id;
    assert_eq!((receipt.command, receipt.state), (format!("order.place-order/{id}"), State::Completed.into()));
    assert_eq!(world.owner.kept.lock().unwrap().delivered, 0, "it did not come directly");
}

#[tokio::test]
async fn a_rejection_is_an_error_with_the_receipt() {
    let world = World::with_queue().await;
    world.answer_commands().await;
    let status = place(&world, "k", REJECTED_QUANTITY).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "UNLUCKY_NUMBER"));
    assert_eq!(receipt(&status).state(), State::Rejected);
}

#[tokio::test]
async fn a_command_that_nobody_takes_is_accepted_and_its_retry_is_the_same_command() {
    let world = World::with_queue().await;
    let first = place(&world, "k", 1).await.unwrap().receipt.unwrap();
    assert_eq!(first.state(), State::Accepted);
    assert_eq!(place(&world, "k", 1).await.unwrap().receipt.unwrap(), first);
    let reused = place(&world, "k", 2).await.unwrap_err();
    assert_eq!((reused.code(), reason(&reused).as_str()), (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"));
    assert_ne!(place(&world, "other", 1).await.unwrap().receipt.unwrap().command, first.command);
}

/// What is queued for a key that has a receipt says nothing of what the key was first used for; only the owner can compare.
#[tokio::test]
async fn whatever_copy_is_queued_a_key_with_a_receipt_is_judged_by_its_owner() {
    let world = World::with_queue().await;
    let name = place(&world, "k", 1).await.unwrap().receipt.unwrap().command;
    let command = name.rsplit('/').next().unwrap().to_owned();
    let receipt = proto::command::v1::Receipt { command: name, state: State::Completed.into(), ..Default::default() };
    let ended = proto::command::v1::DeliverResponse { receipt: Some(receipt), outcome: None };
    world.owner.kept.lock().unwrap().receipts.insert(command, (format!("user/{}", id(1)), ended));
    for quantity in [1, 2] {
        let delivered = world.owner.kept.lock().unwrap().delivered;
        let _ = place(&world, "k", quantity).await;
        assert_eq!(world.owner.kept.lock().unwrap().delivered, delivered + 1, "{quantity}");
    }
    world.owner.stop();
    let unknown = place(&world, "k", 2).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable, "nobody can say which was first");
}

#[tokio::test]
async fn an_accepted_command_waits_for_its_owner_even_when_that_is_down() {
    let world = World::with_queue().await;
    let name = place(&world, "k", 1).await.unwrap().receipt.unwrap().command;
    for owner_is_down in [false, true] {
        if owner_is_down {
            world.owner.stop();
        }
        let found = world.get_command(1, &name).await.unwrap();
        assert_eq!((found.receipt.unwrap().state(), found.waiting_for.as_str()), (State::Accepted, "order"));
        let stranger = world.get_command(2, &name).await.unwrap_err();
        assert_eq!((stranger.code(), reason(&stranger).as_str()), (Code::PermissionDenied, "COMMAND_NOT_YOURS"));
    }
}

#[tokio::test]
async fn without_its_queue_a_command_goes_to_its_owner_directly() {
    let world = World::new().await;
    let answer = place(&world, "k", 1).await.unwrap();
    assert_eq!(answer.receipt.unwrap().state(), State::Completed);
    assert_eq!(world.owner.kept.lock().unwrap().delivered, 1);
    world.nats.kill();
    assert_eq!(place(&world, "l", 1).await.unwrap().receipt.unwrap().state(), State::Completed);
}

#[tokio::test]
async fn with_neither_queue_nor_owner_a_command_may_still_happen() {
    let world = World::new().await;
    place(&world, "before", 1).await.unwrap();
    world.owner.stop();
    let status = place(&world, "k", 1).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "UNAVAILABLE"));
    assert_eq!(details::<proto::rpc::RetryInfo>(&status, "google.rpc.RetryInfo").len(), 1);
    assert!(status.message().contains("may still happen"), "{}", status.message());
}

#[tokio::test]
async fn an_ended_command_is_found_with_its_response_by_whose_it_is() {
    let world = World::new().await;
    let name = place(&world, "k", 1).await.unwrap().receipt.unwrap().command;
    let found = world.get_command(1, &name).await.unwrap();
    assert_eq!(found.receipt.as_ref().unwrap().state(), State::Completed);
    let Some(Outcome::Response(response)) = found.outcome else { panic!("{found:?}") };
    assert_eq!(response.type_url, "type.googleapis.com/millrace.order.v1.PlaceOrderResponse");
    let response = PlaceOrderResponse::decode(response.value.as_slice()).unwrap();
    assert_eq!(response.receipt, found.receipt);
    assert_eq!(reason(&world.get_command(2, &name).await.unwrap_err()), "COMMAND_NOT_YOURS");
}

#[tokio::test]
async fn a_command_that_nobody_has_is_unknown_and_one_that_cannot_be_looked_for_is_not() {
    let world = World::with_queue().await;
    let name = format!("order.place-order/{}", id(5));
    assert_eq!(world.get_command(1, &name).await.unwrap().receipt.unwrap().state(), State::Unknown);
    for bad in
        ["nonsense", "order.place-order/x", "order.get-order/AAAAAAAAAAAAAAAAAAAAAA", "a.b/AAAAAAAAAAAAAAAAAAAAAA"]
    {
        let status = world.get_command(1, bad).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{bad}");
    }
    world.owner.stop();
    eventually("the owner cannot be asked", async || {
        world.get_command(1, &name).await.is_err_and(|status| status.code() == Code::Unavailable)
    })
    .await;
}

#[tokio::test]
async fn whoever_waits_for_a_command_hears_of_its_end() {
    let world = World::with_queue().await;
    let name = place(&world, "k", 1).await.unwrap().receipt.unwrap().command;
    let waiting = |timeout: Option<prost_types::Duration>| {
        let request = world.call(WaitCommandRequest { command: name.clone(), timeout });
        let mut commands = world.commands();
        async move { commands.wait_command(request).await.map(tonic::Response::into_inner) }
    };
    let soon = prost_types::Duration { seconds: 0, nanos: 50_000_000 };
    assert_eq!(waiting(Some(soon)).await.unwrap().receipt.unwrap().state(), State::Accepted);
    let waiting = tokio::spawn(waiting(None));
    // The owner comes up, and does it.
    let ended = {
        let command = name.rsplit('/').next().unwrap().to_owned();
        let receipt =
            proto::command::v1::Receipt { command: name, state: State::Completed.into(), ..Default::default() };
        (command, proto::command::v1::DeliverResponse { receipt: Some(receipt), outcome: None })
    };
    let whose = format!("user/{}", id(1));
    world.owner.kept.lock().unwrap().receipts.insert(ended.0, (whose, ended.1));
    let found = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(found.receipt.unwrap().state(), State::Completed);
    assert_eq!(found.outcome, None::<wait_command_response::Outcome>);
}

#[tokio::test]
async fn a_retry_meets_the_outcome_of_the_copy_that_is_still_queued() {
    let world = World::with_queue().await;
    world.answer_commands().await;
    let first = place(&world, "k", 1).await.unwrap();
    assert_eq!(place(&world, "k", 1).await.unwrap(), first);
}

#[tokio::test]
async fn the_key_is_the_principals_own() {
    let world = World::new().await;
    let of = async |user| {
        let request: Request<_> = with(world.call_of(user, order(1)), "idempotency-key", "k");
        world.orders().place_order(request).await.unwrap().into_inner().order.unwrap().order_id
    };
    assert_eq!(of(1).await, of(1).await);
    assert_ne!(of(1).await, of(2).await);
}

#[tokio::test]
async fn an_accepted_command_ends_even_if_the_broker_stays_away() {
    let world = World::with(|config| config.limits.look_after = Duration::from_millis(100)).await;
    world.streams.ensure_commands("order").await.unwrap();
    let name = place(&world, "k", 1).await.unwrap().receipt.unwrap().command;
    world.nats.kill();
    eventually("its owner is called directly, and has it", async || {
        let found = world.get_command(1, &name).await;
        found.is_ok_and(|found| found.receipt.unwrap().state() == State::Completed)
    })
    .await;
}

#[tokio::test]
async fn an_accepted_command_outlives_the_loss_of_the_brokers_disk() {
    let world = World::with(|config| config.limits.look_after = Duration::from_secs(2)).await;
    world.streams.ensure_commands("order").await.unwrap();
    let name = place(&world, "k", 1).await.unwrap().receipt.unwrap().command;
    world.nats.wipe();
    world.nats.restart().await;
    eventually("the queue is made again", async || world.streams.ensure_commands("order").await.is_ok()).await;
    eventually(
        "the command is queued again, or done already if it was looked for while the broker was away",
        async || {
            let found = world.get_command(1, &name).await;
            let state = found.map(|found| found.receipt.unwrap().state());
            matches!(state, Ok(State::Accepted | State::Completed))
        },
    )
    .await;
}
