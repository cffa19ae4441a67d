use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::Micros;

/// Names one state of a profile. The time tells apart what a restored database did twice under one revision.
pub(super) fn of(revision: i64, time: Micros) -> String {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&revision.to_be_bytes());
    bytes[8..].copy_from_slice(&time.0.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_changes_with_the_revision_and_with_the_time() {
        let etag = of(1, Micros(1));
        assert_eq!(of(1, Micros(1)), etag);
        assert_ne!(of(2, Micros(1)), etag);
        assert_ne!(of(1, Micros(2)), etag);
    }
}
