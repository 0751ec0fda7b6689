//! TLS between nodes: 1.3 only, aws-lc-rs only, both sides judged by the swarm's own roots.
//!
//! Nothing is resumed: every connection shows its certificate and has it checked against the roots and the swarm of
//! this moment. A server lets clients without a certificate in; what those may do is the authorization table's matter.

use std::{
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::SingleCertAndKey,
    version::TLS13,
};
use skep_proto::v1::NodeRole;

use super::{
    dial::KnownManagers,
    identity::{Identity, IdentityHandle, NodeCertificate},
};

const H2: &[u8] = b"h2";

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Whom a client means to reach.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Any manager of the swarm: of those this node knows, if it knows any.
    Manager,
    /// The node with this id.
    Node(String),
    /// Any node of the swarm.
    AnyNode,
}

/// Who is believed to be a manager at an address.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) managers: Arc<dyn KnownManagers>,
    pub(crate) addr: String,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Expect {
    fn fits(&self, certificate: &NodeCertificate, named: Option<&Named>) -> bool {
        match self {
            Self::Manager => {
                let is_named = |named: &Named| named.managers.may_be(&certificate.node_id, &named.addr);
                certificate.role == NodeRole::Manager && named.is_none_or(is_named)
            }
            Self::Node(id) => certificate.node_id == *id,
            Self::AnyNode => true,
        }
    }
}

/// What a server with `identity` offers. Client certificates are optional; one that is shown must be of this swarm.
pub fn server_config(identity: &Identity) -> Result<ServerConfig, Error> {
    let chain = WebPkiClientVerifier::builder_with_provider(identity.roots().clone(), PROVIDER.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let verifier = Arc::new(SwarmClient { chain, cluster_id: identity.cluster_id().to_owned() });
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key().clone())));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(config)
}

/// What a client with `identity` asks of the node it means to reach.
pub(crate) fn client_config(identity: &Identity, expect: Expect, named: Option<Named>) -> Result<ClientConfig, Error> {
    let cluster_id = Some(identity.cluster_id().to_owned());
    let verifier = SwarmServer { roots: identity.roots().clone(), cluster_id, expect, named };
    let config = client_builder(Arc::new(verifier))?;
    Ok(finish(config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key().clone())))))
}

/// What a client without an identity asks: any manager under `roots`, whatever its swarm's id.
pub(crate) fn anonymous_client_config(roots: Arc<RootCertStore>) -> Result<ClientConfig, Error> {
    let verifier = SwarmServer { roots, cluster_id: None, expect: Expect::Manager, named: None };
    Ok(finish(client_builder(Arc::new(verifier))?.with_no_client_auth()))
}

/// What a client asks that knows nothing yet: only that the server holds the key of the certificate it shows.
/// For fetching the root bundle, which the join token's digest then proves or disproves.
pub(crate) fn unverified_client_config() -> Result<ClientConfig, Error> {
    Ok(finish(client_builder(Arc::new(AnyServer))?.with_no_client_auth()))
}

/// The server's configuration, made anew when the identity was replaced.
pub(crate) struct ServerTls {
    identity: IdentityHandle,
    made: Mutex<Option<(Arc<Identity>, Arc<ServerConfig>)>>,
}

impl ServerTls {
    pub(crate) fn new(identity: IdentityHandle) -> Self {
        Self { identity, made: Mutex::new(None) }
    }

    /// The configuration for the identity in force.
    pub(crate) fn config(&self) -> Result<Arc<ServerConfig>, Error> {
        let identity = self.identity.current();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, config)) = &*made
            && Arc::ptr_eq(of, &identity)
        {
            return Ok(config.clone());
        }
        let config = Arc::new(server_config(&identity)?);
        *made = Some((identity, config.clone()));
        Ok(config)
    }
}

type ClientBuilder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn client_builder(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientBuilder, Error> {
    Ok(ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

fn finish(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.alpn_protocols = vec![H2.to_vec()];
    config
}

fn refuse() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

/// TLS 1.2 is not offered; were it ever negotiated, this ends it.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not used between nodes".into()))
}

fn check_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature(message, certificate, signed, &PROVIDER.signature_verification_algorithms)
}

/// Accepts clients whose certificate chains to the roots and names this swarm.
#[derive(Debug)]
struct SwarmClient {
    chain: Arc<dyn ClientCertVerifier>,
    cluster_id: String,
}

impl ClientCertVerifier for SwarmClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let certificate = NodeCertificate::from_der(end_entity).map_err(|_| refuse())?;
        if certificate.cluster_id != self.cluster_id {
            return Err(refuse());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Accepts the expected node. Names in the certificate's SAN play no part: a node is its id and its role, wherever it runs.
#[derive(Debug)]
struct SwarmServer {
    roots: Arc<RootCertStore>,
    cluster_id: Option<String>,
    expect: Expect,
    named: Option<Named>,
}

impl ServerCertVerifier for SwarmServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            PROVIDER.signature_verification_algorithms.all,
        )?;
        let certificate = NodeCertificate::from_der(end_entity).map_err(|_| refuse())?;
        let same_swarm = self.cluster_id.as_ref().is_none_or(|id| *id == certificate.cluster_id);
        if !same_swarm || !self.expect.fits(&certificate, self.named.as_ref()) {
            return Err(refuse());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts whoever answers.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
