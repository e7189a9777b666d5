//! A certificate for `localhost`, signed by an authority that nobody trusts who is not told to.
//!
//! Use it with `#[path = "../support/authority.rs"] mod authority;`.

#![allow(
    dead_code,
    reason = "each test binary that includes this file uses a part of it"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What a server on `localhost` shows, and what its clients have to trust.
pub struct Localhost {
    /// The authority, in PEM: a `TLS_CA_FILE`.
    pub authority: String,
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
}

impl Localhost {
    /// A new one, with an authority of its own.
    pub fn certified() -> Self {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let server = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        Self {
            authority: pem,
            certificate: server.signed_by(&key, &issuer).unwrap(),
            key,
        }
    }

    /// The certificate, in PEM.
    pub fn certificate(&self) -> String {
        self.certificate.pem()
    }

    /// Its key, in PEM.
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// For a server of the test's own.
    pub fn acceptor(&self) -> TlsAcceptor {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![self.certificate.der().clone()],
                PrivateKeyDer::Pkcs8(self.key.serialize_der().into()),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
