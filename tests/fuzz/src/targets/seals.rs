//! Seals, as they come in headers and messages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::Micros;
use identity::{MasterKey, Principal, STAFF, SealError, Sealer, Verifier, seal};
use proto::Message as _;
use proto::command::v1::{Seal, Statement};

use crate::Target;
use crate::targets::id;

pub(crate) const TARGET: Target = Target { name: "seals", seeds, feed, short: 5_000 };

const METHOD: &str = "millrace.order.v1.OrderService/PlaceOrder";
const BODY: &[u8] = b"an encoded request";

fn feed(input: &[u8]) {
    let as_text = std::str::from_utf8(input).ok().map(seal::from_text);
    for read in as_text.into_iter().chain([seal::from_bytes(input)]) {
        match read {
            Ok(seal) => only_ours_is_good(&seal),
            Err(error) => assert!(matches!(error, SealError::Malformed(_))),
        }
    }
    if let Ok(statement) = Statement::decode(input) {
        is_what_was_stated(&statement);
    }
}

/// Whatever a seal looks like: if it is good, it is the one that was made.
fn only_ours_is_good(seal: &Seal) {
    assert_eq!(seal::from_text(&seal::to_text(seal)).as_ref(), Ok(seal), "a seal is read as it was written");
    match order().verify(seal, METHOD, BODY) {
        Ok(verified) => {
            let maker = [gateway(), billing()].into_iter().find(|maker| *seal == sealed(maker));
            let maker = maker.unwrap_or_else(|| panic!("a seal that nobody made is good: {seal:?}"));
            assert_eq!(verified.principal.caller, maker.caller(), "somebody else's name");
        }
        // Of what nobody has vouched for, a name is repeated, and that is short.
        Err(error) => assert!(error.to_string().len() < 200 && *seal != sealed(&gateway()), "{error}"),
    }
    let own = gateway().verify_own("order", seal, METHOD, BODY);
    assert_eq!(own.is_ok(), *seal == sealed(&gateway()), "{own:?}");
    assert!(order().verify(seal, METHOD, b"another request").is_err());
    assert!(order().verify(seal, "millrace.order.v1.OrderService/CancelOrder", BODY).is_err());
    assert!(Verifier::new(master().owner("billing")).verify(seal, METHOD, BODY).is_err());
}

/// Whatever a caller states under its key, its owner reads exactly that, or nothing.
fn is_what_was_stated(statement: &Statement) {
    let sealed = gateway().seal("order", statement).unwrap();
    let Ok(verified) = order().verify(&sealed, &statement.method, BODY) else { return };
    let text = |id: Option<event::Id>| id.map(|id| id.to_string()).unwrap_or_default();
    let read = Statement {
        method: statement.method.clone(),
        user_id: text(verified.principal.user),
        session_id: text(verified.principal.session),
        roles: verified.principal.roles,
        command_id: text(verified.command_id),
        request_hash: verified.request_hash.to_vec().into(),
        accepted_at_us: verified.accepted_at.0,
        not_after_us: verified.not_after.0,
        anonymous: verified.anonymous,
    };
    assert_eq!(&read, statement);
    assert_eq!(verified.principal.caller, "gateway");
}

fn master() -> MasterKey {
    "07".repeat(32).parse().unwrap()
}

fn order() -> Verifier {
    Verifier::new(master().owner("order"))
}

fn gateway() -> Sealer {
    Sealer::new("gateway", [("order".to_owned(), master().owner("order").pair("gateway"))])
}

fn billing() -> Sealer {
    Sealer::new("billing", [("order".to_owned(), master().owner("order").pair("billing"))])
}

fn stated() -> Statement {
    let principal = Principal {
        user: Some(id(1)),
        session: Some(id(2)),
        roles: vec![STAFF.to_owned()],
        ..Principal::service("gateway")
    };
    let statement = seal::statement(&principal, METHOD, BODY, Micros(1_700_000_000_000_000), Micros(i64::MAX));
    Statement { command_id: id(3).to_string(), ..statement }
}

fn sealed(by: &Sealer) -> Seal {
    by.seal("order", &stated()).unwrap()
}

fn seeds() -> Vec<Vec<u8>> {
    let (ours, theirs) = (sealed(&gateway()), sealed(&billing()));
    let posing = Seal { caller: "gateway".to_owned(), ..theirs.clone() };
    let mut seeds: Vec<_> = [&ours, &theirs, &posing].iter().map(|seal| seal.encode_to_vec()).collect();
    seeds.push(URL_SAFE_NO_PAD.encode(ours.encode_to_vec()).into_bytes());
    seeds.push(stated().encode_to_vec());
    seeds
}
