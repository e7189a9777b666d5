//! The keys that sign and verify access tokens.
//!
//! Each key knows its one algorithm; the header of a token never chooses it (RFC 8725 3.1).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::keys::{WeakSecret, derive, refuse_weak_secret};
use super::token::hex;

/// The current signing key and the previous ones that still verify. Cheap to clone.
#[derive(Clone)]
pub struct SigningKeys(Arc<Keys>);

struct Keys {
    signing: EncodingKey,
    current: VerifyingKey,
    previous: Vec<VerifyingKey>,
    default_secret_key: SecretString,
}

/// One key that verifies, found by its `kid`.
pub(super) struct VerifyingKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    /// The algorithm as a header names it.
    pub(super) alg: &'static str,
    pub(super) key: DecodingKey,
    /// What is published. `None` for a secret.
    jwk: Option<Value>,
}

/// Why a signing key was refused. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// No PEM block with a private key.
    #[error("it holds no PEM block with a private key; `stile keys generate` prints one")]
    NoKey,
    /// A private key, but of another kind, or damaged.
    #[error("it is neither an Ed25519 nor a P-256 private key; `stile keys generate` prints one")]
    UnknownKind,
    /// An HS256 secret that is too weak.
    #[error(transparent)]
    WeakSecret(#[from] WeakSecret),
}

impl SigningKeys {
    /// Ed25519 or P-256, in PKCS#8 or (P-256) SEC1 PEM. `previous` keys verify and are published.
    pub fn from_pem(current: &SecretString, previous: &[SecretString]) -> Result<Self, SigningKeyError> {
        let current = PrivateKey::from_pem(current)?;
        let previous = previous
            .iter()
            .map(|pem| PrivateKey::from_pem(pem)?.verifying())
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self(Arc::new(Keys {
            signing: current.signing()?,
            current: current.verifying()?,
            previous,
            default_secret_key: default_secret_key(&current.secret_bytes()?),
        })))
    }

    /// HS256 (`JWT_SECRET`, at least 32 bytes). Nothing is published: who can verify can also sign.
    pub fn from_secret(secret: &SecretString) -> Result<Self, SigningKeyError> {
        refuse_weak_secret(secret)?;
        let bytes = secret.expose_secret().as_bytes();
        let current = VerifyingKey {
            // Not RFC 7638's thumbprint, which for a secret is a hash to guess it by.
            kid: hex(derive(bytes, &[b"stile key id v1"]).as_slice().split_at(8).0),
            algorithm: Algorithm::HS256,
            alg: "HS256",
            key: DecodingKey::from_secret(bytes),
            jwk: None,
        };
        Ok(Self(Arc::new(Keys {
            signing: EncodingKey::from_secret(bytes),
            current,
            previous: Vec::new(),
            default_secret_key: default_secret_key(bytes),
        })))
    }

    /// A new Ed25519 key, PKCS#8 PEM.
    ///
    /// # Panics
    /// When the system's random source fails.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "without randomness there is no safe way to go on"
    )]
    pub fn generate_pem() -> SecretString {
        let pkcs8 = Ed25519KeyPair::generate()
            .and_then(|pair| pair.to_pkcs8v1())
            .expect("a key can be made");
        let base64 = Zeroizing::new(STANDARD.encode(pkcs8.as_ref()));
        format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            base64.as_str()
        )
        .into()
    }

    /// What `SECRET_KEY` is when it is not set: HKDF-SHA256 of the current signing key, in hex. The
    /// same in whatever form the key is written.
    #[must_use]
    pub fn default_secret_key(&self) -> SecretString {
        self.0.default_secret_key.clone()
    }

    pub(super) fn signing(&self) -> (&EncodingKey, &VerifyingKey) {
        (&self.0.signing, &self.0.current)
    }

    pub(super) fn find(&self, kid: &str) -> Option<&VerifyingKey> {
        self.all().find(|key| key.kid == kid)
    }

    /// The JWK Set (RFC 7517): public keys only, the current one first.
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": self.all().filter_map(|key| key.jwk.as_ref()).collect::<Vec<_>>() })
    }

    fn all(&self) -> impl Iterator<Item = &VerifyingKey> {
        std::iter::once(&self.0.current).chain(&self.0.previous)
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys(..)")
    }
}

fn default_secret_key(signing_key: &[u8]) -> SecretString {
    hex(derive(signing_key, &[b"stile default secret key v1"]).as_slice()).into()
}

enum PrivateKey {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl PrivateKey {
    fn from_pem(pem: &SecretString) -> Result<Self, SigningKeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes())
            .map_err(|_| SigningKeyError::NoKey)?;
        // The version 1 form that OpenSSL writes holds no public key to check against; hence "maybe".
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_der()) {
            return Ok(Self::Ed25519(pair));
        }
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der())
            .map(Self::P256)
            .map_err(|_| SigningKeyError::UnknownKind)
    }

    fn signing(&self) -> Result<EncodingKey, SigningKeyError> {
        match self {
            Self::Ed25519(pair) => pair
                .to_pkcs8v1()
                .map(|der| EncodingKey::from_ed_der(der.as_ref())),
            Self::P256(pair) => pair
                .to_pkcs8v1()
                .map(|der| EncodingKey::from_ec_der(der.as_ref())),
        }
        .map_err(|_| SigningKeyError::UnknownKind)
    }

    /// What only the key's owner knows, free of the form in which it was written.
    fn secret_bytes(&self) -> Result<Zeroizing<Vec<u8>>, SigningKeyError> {
        match self {
            Self::Ed25519(pair) => pair
                .seed()
                .and_then(|seed| seed.as_be_bytes())
                .map(|bytes| bytes.as_ref().to_vec()),
            Self::P256(pair) => pair
                .private_key()
                .as_be_bytes()
                .map(|bytes| bytes.as_ref().to_vec()),
        }
        .map(Zeroizing::new)
        .map_err(|_| SigningKeyError::UnknownKind)
    }

    fn verifying(&self) -> Result<VerifyingKey, SigningKeyError> {
        // RFC 7638 hashes the required members alone, in alphabetical order, without spaces.
        let (algorithm, alg, key, required, mut jwk) = match self {
            Self::Ed25519(pair) => {
                let public = pair.public_key().as_ref();
                let x = URL_SAFE_NO_PAD.encode(public);
                let required = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
                let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
                (
                    Algorithm::EdDSA,
                    "EdDSA",
                    DecodingKey::from_ed_der(public),
                    required,
                    jwk,
                )
            }
            Self::P256(pair) => {
                let public = pair.public_key().as_ref();
                // An uncompressed point: 0x04, then x and y (SEC 1, 2.3.3).
                let (Some(x), Some(y)) = (public.get(1..33), public.get(33..65)) else {
                    return Err(SigningKeyError::UnknownKind);
                };
                let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
                let required = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
                let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
                (
                    Algorithm::ES256,
                    "ES256",
                    DecodingKey::from_ec_der(public),
                    required,
                    jwk,
                )
            }
        };
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, required.as_bytes()));
        if let Some(members) = jwk.as_object_mut() {
            members.extend([
                ("use".to_owned(), json!("sig")),
                ("alg".to_owned(), json!(alg)),
                ("kid".to_owned(), json!(kid)),
            ]);
        }
        Ok(VerifyingKey {
            kid,
            algorithm,
            alg,
            key,
            jwk: Some(jwk),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    // Made by OpenSSL 3 for these tests: `openssl genpkey`, `openssl ecparam -genkey`.
    const ED25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIOwyAPvHfmEglttjGPNA+z0aqC2hzsm4VIwCPkcTsexb\n-----END PRIVATE KEY-----\n";
    const P256_SEC1: &str = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIHEBN2Rap61roxf6Rc49a0czO6chX+Hk1jAUFcVzFWznoAoGCCqGSM49\nAwEHoUQDQgAEIjn2o8HBsXoLMfKskKsuWN/QOo+smbHSQlklrjeSPf9Erq63v8Rv\nSN/vHblN95swqDVQAUWiHUOe/OmshxMQ1Q==\n-----END EC PRIVATE KEY-----\n";
    pub(crate) const P256_PKCS8: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgcQE3ZFqnrWujF/pF\nzj1rRzM7pyFf4eTWMBQVxXMVbOehRANCAAQiOfajwcGxegsx8qyQqy5Y39A6j6yZ\nsdJCWSWuN5I9/0Surre/xG9I3+8duU33mzCoNVABRaIdQ5786ayHExDV\n-----END PRIVATE KEY-----\n";
    const RSA: &str =
        "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34GkxFhD9\n-----END RSA PRIVATE KEY-----\n";

    fn keys(pem: &str) -> SigningKeys {
        SigningKeys::from_pem(&pem.into(), &[]).unwrap()
    }

    #[test]
    fn a_generated_key_is_read_back_and_published_without_its_private_part() {
        let keys = SigningKeys::from_pem(&SigningKeys::generate_pem(), &[]).unwrap();
        let jwks = keys.jwks();
        let members: Vec<_> = jwks["keys"][0].as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
        assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn keys_made_by_openssl_are_read_and_published_as_openssl_says() {
        let ed25519 = keys(ED25519).jwks();
        assert_eq!(
            ed25519["keys"][0]["x"],
            "z3NdKNpUgvlVqJ67CRU4WNNDrVBPGMZurvjXzsPZpLI"
        );
        let p256 = keys(P256_PKCS8).jwks();
        assert_eq!(
            p256["keys"][0]["x"],
            "Ijn2o8HBsXoLMfKskKsuWN_QOo-smbHSQlklrjeSPf8"
        );
        assert_eq!(
            p256["keys"][0]["y"],
            "RK6ut7_Eb0jf7x25TfebMKg1UAFFoh1DnvzprIcTENU"
        );
        assert_eq!(p256["keys"][0]["alg"], "ES256");
        assert_eq!(p256["keys"][0]["d"], Value::Null);
    }

    /// RFC 8037 appendix A.3 gives this key and its thumbprint.
    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_7638() {
        let der = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
        assert_eq!(
            keys(&pem).jwks()["keys"][0]["kid"],
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn one_key_in_two_forms_is_the_same_key_with_the_same_secret_key() {
        let (sec1, pkcs8) = (keys(P256_SEC1), keys(P256_PKCS8));
        assert_eq!(sec1.jwks(), pkcs8.jwks());
        let secret = |keys: &SigningKeys| keys.default_secret_key().expose_secret().to_owned();
        assert_eq!(secret(&sec1), secret(&pkcs8));
        assert_ne!(secret(&sec1), secret(&keys(ED25519)));
        assert!(super::super::SecretKeys::new(sec1.default_secret_key(), None).is_ok());
    }

    #[test]
    fn previous_keys_are_found_and_published_after_the_current_one() {
        let rotated = SigningKeys::from_pem(&ED25519.into(), &[P256_PKCS8.into()]).unwrap();
        let published = rotated.jwks();
        assert_eq!(published["keys"][0], keys(ED25519).jwks()["keys"][0]);
        assert_eq!(published["keys"][1], keys(P256_PKCS8).jwks()["keys"][0]);
        assert!(
            rotated
                .find(published["keys"][1]["kid"].as_str().unwrap())
                .is_some()
        );
        assert!(rotated.find("unknown").is_none());
    }

    #[test]
    fn a_secret_is_never_published() {
        let keys = SigningKeys::from_secret(&"Zm9yIHRlc3RzIG9ubHksIG5vdCBzZWNyZXQ-1".into()).unwrap();
        assert_eq!(keys.jwks(), json!({ "keys": [] }));
    }

    /// JWT-08, LGR-01
    #[test]
    fn what_is_no_usable_key_is_refused_without_being_repeated() {
        let damaged = ED25519.replace("MC4C", "MC4D");
        let refused = [
            ("", SigningKeyError::NoKey),
            ("marker-of-a-key", SigningKeyError::NoKey),
            (
                "-----BEGIN PRIVATE KEY-----\nmarker-of-a-key\n-----END PRIVATE KEY-----\n",
                SigningKeyError::NoKey,
            ),
            (damaged.as_str(), SigningKeyError::UnknownKind),
            (RSA, SigningKeyError::UnknownKind),
        ];
        for (pem, why) in refused {
            let error = SigningKeys::from_pem(&pem.into(), &[]).unwrap_err();
            assert_eq!(error, why, "{pem}");
            assert!(!format!("{error} {error:?}").contains("marker"));
            assert!(SigningKeys::from_pem(&ED25519.into(), &[pem.into()]).is_err());
        }
        let error = SigningKeys::from_secret(&"changeme".into()).unwrap_err();
        assert_eq!(error, SigningKeyError::WeakSecret(WeakSecret::Placeholder));
    }
}
