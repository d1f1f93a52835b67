//! Encryption: which certificates a mode trusts, and TLS over our socket.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::Socket;
use crate::SslMode;
use crate::settings::Ssl;

/// An encrypted [`Socket`].
pub type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// The handshake failed: the two have no protocol in common, or one does not trust the other.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Handshake(#[from] io::Error);

/// Encrypts one socket.
pub(super) struct Encrypt(Option<<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect>);

impl Encrypt {
    /// For a connection that stays as it is.
    pub(super) fn never() -> Self {
        Self(None)
    }

    /// Reads the certificates again, so that renewed ones are used without a restart.
    pub(super) fn as_asked(ssl: &Ssl, host: &str) -> Result<Self, String> {
        if ssl.mode == SslMode::Disable {
            return Ok(Self::never());
        }
        // Where the name is not checked it need not be one that a certificate can have.
        let named = ssl.mode == SslMode::VerifyFull || ServerName::try_from(host).is_ok();
        let host = if named { host } else { "0.0.0.0" };
        let Ok(connect) = MakeTlsConnect::<Socket>::make_tls_connect(&mut MakeRustlsConnect::new(client(ssl)?), host);
        Ok(Self(Some(connect)))
    }
}

impl TlsConnect<Socket> for Encrypt {
    type Stream = TlsStream;
    type Error = Handshake;
    type Future = Pin<Box<dyn Future<Output = Result<TlsStream, Handshake>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            match self.0 {
                Some(connect) => Ok(connect.connect(socket).await?),
                None => Err(Handshake(io::Error::other("encryption is switched off"))),
            }
        })
    }
}

fn client(ssl: &Ssl) -> Result<ClientConfig, String> {
    // Named: a program may have two providers linked, of which rustls would choose none.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(words)?;
    let builder = match ssl.mode {
        SslMode::VerifyFull => builder.with_webpki_verifier(chain(ssl, provider)?),
        SslMode::VerifyCa => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName(chain(ssl, provider)?))),
        SslMode::Disable | SslMode::Prefer | SslMode::Require => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider.signature_verification_algorithms))),
    };
    match (&ssl.client_cert, &ssl.client_key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, error))?;
            builder.with_client_auth_cert(certificates(cert)?, key).map_err(words)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// Mozilla's authorities, and those of `ssl_root_cert` beside them.
fn chain(ssl: &Ssl, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = &ssl.root_cert {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| unusable(path, error))?;
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(words)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, error))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, error: impl fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn words(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Checks the certificate and not whether it is this host's.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is looked at last, when everything else was found right.
        match self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Accepts any certificate, one of X.509 version 1 too, which rustls does not read.
///
/// That the server has the certificate's key is checked all the same: the password's exchange is bound to the
/// certificate (SCRAM-SHA-256-PLUS), which is worth something only if nobody else can show it.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = public_key(cert)?;
        let algorithm = key.algorithm.to_der().map_err(|_| bad_encoding())?;
        // Without the header of the sequence, which is short.
        let algorithm = algorithm.get(2..).unwrap_or_default();
        let verified = self
            .0
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signed.scheme)
            .flat_map(|(_, candidates)| *candidates)
            .filter(|candidate| *candidate.public_key_alg_id() == *algorithm)
            .any(|candidate| {
                candidate
                    .verify_signature(key.subject_public_key.raw_bytes(), message, signed.signature())
                    .is_ok()
            });
        match verified {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = public_key(cert)?.to_der().map_err(|_| bad_encoding())?;
        rustls::crypto::verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.as_slice()),
            signed,
            &self.0,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn public_key(cert: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoOwned, rustls::Error> {
    let certificate = x509_cert::Certificate::from_der(cert).map_err(|_| bad_encoding())?;
    Ok(certificate.tbs_certificate.subject_public_key_info)
}

fn bad_encoding() -> rustls::Error {
    CertificateError::BadEncoding.into()
}
