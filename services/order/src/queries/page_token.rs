//! A place in a list as opaque text. It carries no authority: whoever sends another's token gets their own orders.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::Id;

use crate::error::Error;
use crate::store::order_view::Place;

/// A time of 8 bytes, and an id of 16.
const LEN: usize = 24;

pub fn write(place: Place) -> String {
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(&place.placed_at.to_be_bytes());
    bytes[8..].copy_from_slice(place.order_id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// None for the empty token: the first page.
pub fn read(token: &str) -> Result<Option<Place>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Error::InvalidPageToken)?;
    let (time, id) = bytes.split_first_chunk::<8>().ok_or(Error::InvalidPageToken)?;
    let id = <[u8; 16]>::try_from(id).map_err(|_| Error::InvalidPageToken)?;
    Ok(Some(Place { placed_at: i64::from_be_bytes(*time), order_id: Id::from_bytes(id) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_from_its_token() {
        let place = Place { placed_at: 1_700_000_000_123_456, order_id: Id::timed(3, [7; 10]) };
        assert_eq!(read(&write(place)), Ok(Some(place)));
        assert_eq!(read(""), Ok(None));
    }

    #[test]
    fn what_is_no_token_of_ours_is_refused() {
        let long = "A".repeat(36);
        for token in ["x", "AAAA", "not base64url!", &"A".repeat(31), &long] {
            assert_eq!(read(token), Err(Error::InvalidPageToken), "{token}");
        }
    }
}
