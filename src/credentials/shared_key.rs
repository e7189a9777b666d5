//! A secret that a client shows as it is, with each request.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

/// Fewest bytes of a shared key.
const LEAST_BYTES: usize = 16;

/// A secret that a client shows as it is (`TEST_ENDPOINTS_KEY`). Holds its digest alone, so that neither its bytes nor its
/// length can be read from how long a comparison takes.
#[derive(Clone)]
pub struct SharedKey([u8; 32]);

/// Fewer bytes than 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has fewer than {LEAST_BYTES} bytes")]
pub struct ShortKey;

impl SharedKey {
    /// The key that is `secret`.
    pub fn new(secret: &str) -> Result<Self, ShortKey> {
        if secret.len() < LEAST_BYTES {
            return Err(ShortKey);
        }
        Ok(Self(hash(secret.as_bytes())))
    }

    /// Whether `shown` is the key.
    #[must_use]
    pub fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(&hash(shown)).into()
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey")
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_is_the_key_and_debug_output_does_not_show_it() {
        let key = SharedKey::new("sixteen-bytes-ok").unwrap();
        assert!(key.is(b"sixteen-bytes-ok"));
        for other in ["", "sixteen-bytes-o", "sixteen-bytes-ok ", "Sixteen-bytes-ok"] {
            assert!(!key.is(other.as_bytes()), "{other:?}");
        }
        assert_eq!(format!("{key:?}"), "SharedKey");
        assert_eq!(SharedKey::new("fifteen-bytes--").err(), Some(ShortKey));
    }
}
