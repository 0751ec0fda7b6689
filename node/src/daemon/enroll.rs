//! How a node comes by its certificate: the first one with a join token, later ones with the one it has.
//!
//! Owns the order of the first enrolment (see docs/adr/0004): the root bundle is fetched from a server nobody vouches for,
//! checked against the digest inside the token, and only then, over a connection that this root vouches for, is the token sent.

use std::time::Duration;

use skep_common::{
    net::{
        backoff::Backoff,
        dial::{Dialer, Expect},
        identity::{Identity, IdentityError, new_key_and_csr},
    },
    token::{JoinToken, TokenError},
};
use skep_proto::v1::{
    Availability, Certificate, CertificateStatusRequest, GetRootCaRequest, IssueCertificateRequest, ca_client::CaClient,
};
use tonic::{Code, Request, Status, transport::Channel};

/// Deadline of each call.
const CALL: Duration = Duration::from_secs(5);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnrollError {
    /// The token cannot be a join token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The server's root is not the one the token was made for.
    #[error("remote CA does not match fingerprint: the join token is for another swarm")]
    WrongRoot,
    /// The swarm said no; trying again will not help.
    #[error("{0}")]
    Refused(String),
    /// The other side cannot be reached or cannot answer now.
    #[error("{0}")]
    Unreachable(String),
    /// What came back cannot be used.
    #[error("the certificate that was issued cannot be used: {0}")]
    Unusable(#[from] IdentityError),
}

impl EnrollError {
    /// Whether trying again (perhaps elsewhere) can help.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl From<Status> for EnrollError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::Aborted => Self::Unreachable(status.message().to_owned()),
            _ => Self::Refused(status.message().to_owned()),
        }
    }
}

/// Makes this machine a new node of the swarm that `remote` (host:port) belongs to.
///
/// # Errors
/// See [`EnrollError`]; a refusal changes nothing here.
pub(super) async fn with_token(remote: &str, token: &str, availability: Availability) -> Result<Identity, EnrollError> {
    let parsed = JoinToken::parse(token)?;
    let mut ca = CaClient::new(Dialer::anonymous_unverified(remote));
    let roots = ca.get_root_ca(within(GetRootCaRequest {})).await?.into_inner().certificate_pem;
    if !parsed.matches_root(&roots) {
        return Err(EnrollError::WrongRoot);
    }
    request(CaClient::new(Dialer::anonymous(remote, &roots)?), token, availability, &roots).await
}

/// A new certificate for the node that `dialer` speaks for, for the role the swarm wants it to have now.
///
/// # Errors
/// See [`EnrollError`].
pub(super) async fn renew(dialer: &Dialer, manager: &str, roots: &[u8]) -> Result<Identity, EnrollError> {
    request(CaClient::new(dialer.channel(manager, Expect::Manager)), "", Availability::Active, roots).await
}

async fn request(
    mut ca: CaClient<Channel>,
    token: &str,
    availability: Availability,
    roots: &[u8],
) -> Result<Identity, EnrollError> {
    let (key, csr_pem) = new_key_and_csr()?;
    let request = IssueCertificateRequest {
        csr_pem: csr_pem.into_bytes(),
        token: token.to_owned(),
        availability: availability.into(),
    };
    let node_id = ca.issue_certificate(within(request)).await?.into_inner().node_id;
    let certificate = issued(&mut ca, &node_id).await?;
    Ok(Identity::from_pem(&certificate.certificate_pem, key, roots)?)
}

/// Asks until the certificate is there.
async fn issued(ca: &mut CaClient<Channel>, node_id: &str) -> Result<Certificate, EnrollError> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    for _ in 0..10 {
        let request = CertificateStatusRequest { node_id: node_id.to_owned() };
        if let Some(certificate) = ca.certificate_status(within(request)).await?.into_inner().certificate {
            return Ok(certificate);
        }
        backoff.wait().await;
    }
    Err(EnrollError::Unreachable("the certificate was not issued in time".to_owned()))
}

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}
