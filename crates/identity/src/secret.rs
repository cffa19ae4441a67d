use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fault::{Protection, without};
use ring::rand::SecureRandom;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::KeyError;

/// So many secret bytes. Printed, they are redacted; dropped, they are wiped.
#[derive(Clone)]
pub(crate) struct Secret<const N: usize>(Zeroizing<[u8; N]>);

impl<const N: usize> Secret<N> {
    pub(crate) fn draw(random: &dyn SecureRandom) -> Result<Self, KeyError> {
        Self::fill(|bytes| random.fill(bytes).map_err(|_| KeyError::NoRandomness))
    }

    /// The bytes that `fill` writes. They never lie anywhere else, so that nothing is left behind.
    pub(crate) fn fill<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = Zeroizing::new([0; N]);
        fill(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// Reads hexadecimal digits or base64url. A text of one length cannot be both.
    pub(crate) fn from_text(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        Self::fill(|bytes| {
            let read = if text.len() == 2 * N { read_hex(text, bytes) } else { read_base64(text, bytes) };
            read.ok_or(KeyError::Malformed { bytes: N })
        })
    }

    pub(crate) fn to_text(&self) -> SecretString {
        URL_SAFE_NO_PAD.encode(self.0.as_slice()).into()
    }

    pub(crate) fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if without(Protection::Redaction) { write!(f, "{:?}", self.0.as_slice()) } else { f.write_str("[redacted]") }
    }
}

fn read_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    for (pair, byte) in text.as_bytes().chunks_exact(2).zip(bytes) {
        let digit = |character: u8| char::from(character).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(())
}

fn read_base64(text: &str, bytes: &mut [u8]) -> Option<()> {
    let length = URL_SAFE_NO_PAD.decode_slice(text, bytes).ok()?;
    (length == bytes.len()).then_some(())
}
