//! Errors of an owner, as the gateway passes them on: a byte for the code, the message, and the details.

use gateway::reading::Refusal;
use proto::rpc::{self, ErrorInfo};
use proto::{ERROR_DOMAIN, Message as _, Name as _, any};
use tonic::{Code, Status};

use crate::Target;
use crate::targets::{given, take};

pub(crate) const TARGET: Target = Target { name: "refusals", seeds, feed, short: 5_000 };

/// What an owner may say by accident.
const LEAK: &str = "relation \"order\" does not exist";

fn feed(mut input: &[u8]) {
    let Some((code, rest)) = input.split_first() else { return };
    input = rest;
    let code = Code::from(i32::from(*code % 17));
    let said = String::from_utf8_lossy(take(&mut input)).into_owned();
    let message = format!("{LEAK}{said}");
    let answer = Status::from(Refusal::from_owner(Status::with_details(code, &message, input.to_vec().into())));
    if is_for_clients(input) {
        assert_eq!((answer.code(), answer.message(), answer.details()), (code, message.as_str(), input));
        return;
    }
    assert!(!answer.message().contains(LEAK), "what an owner said to nobody reached a client: {answer:?}");
    assert!(is_for_clients(answer.details()), "a client is not told why: {answer:?}");
    assert!(matches!(answer.code(), Code::Internal | Code::Unavailable | Code::DeadlineExceeded), "{answer:?}");
}

/// Whether the details have a reason of ours.
pub(super) fn is_for_clients(details: &[u8]) -> bool {
    let Ok(status) = rpc::Status::decode(details) else { return false };
    let named = |url: &str| url.rsplit('/').next() == Some(ErrorInfo::full_name().as_str());
    let infos = status.details.iter().filter(|detail| named(&detail.type_url));
    infos.filter_map(|detail| ErrorInfo::decode(&*detail.value).ok()).any(|info| info.domain == ERROR_DOMAIN)
}

fn seeds() -> Vec<Vec<u8>> {
    let info = |domain: &str| ErrorInfo { reason: "WHY".to_owned(), domain: domain.to_owned(), ..Default::default() };
    let with = |domain: &str| rpc::Status { code: 9, message: "no".to_owned(), details: vec![any(&info(domain))] };
    let details = [with(ERROR_DOMAIN).encode_to_vec(), with("elsewhere").encode_to_vec(), Vec::new()];
    details.iter().map(|details| [&[9], given(b"no").as_slice(), details].concat()).collect()
}
