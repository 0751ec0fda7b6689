//! Enrolment: how a node gets its certificate. The first one with a join token, later ones with the present certificate, or
//! with a join token again when that is no longer valid.
//!
//! Owns the order of the first enrolment (see docs/adr/0004): the root bundle is fetched from a server nobody vouches for,
//! checked against the digest inside the token, and only then, over a connection that this root vouches for, is the token sent.
//! Invariant: a key is on disk before it is sent, so a request whose answer was lost is repeated, not made anew.

use std::{fs, io, path::Path, time::Duration};

use skep_common::{
    clock::{Clock as _, SystemClock},
    durable::write_atomic,
    net::{
        backoff::Backoff,
        dial::{Dialer, Expect, describe},
        identity::{Identity, IdentityError, csr_for, date, new_key_and_csr},
    },
    secret::Secret,
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
    /// The node's key cannot be kept.
    #[error("cannot write the node's next key: {0}")]
    Key(#[source] io::Error),
    /// The token is another swarm's than this node's.
    #[error("this node is part of another swarm than the join token is for")]
    OtherSwarm,
    /// The certificate was made by another time than this node's.
    #[error(
        "the certificate that was issued is valid from {0} until {1}, and the clock of this node says {2}: this node's clock is wrong, or that of the manager that leads"
    )]
    Untimely(String, String, String),
    /// What came back cannot be used.
    #[error("the certificate that was issued cannot be used: {0}")]
    Unusable(#[from] IdentityError),
}

impl EnrollError {
    /// Whether trying again (perhaps elsewhere) can help.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Key(_) | Self::Untimely(..))
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
            | Code::Aborted => Self::Unreachable(describe(&status)),
            _ => Self::Refused(status.message().to_owned()),
        }
    }
}

/// Makes this machine a new node of the swarm that `remote` (host:port) belongs to. `key_file` keeps the key meanwhile.
///
/// # Errors
/// See [`EnrollError`]; a refusal changes nothing here.
pub(super) async fn with_token(
    remote: &str,
    token: &str,
    availability: Availability,
    key_file: &Path,
) -> Result<Identity, EnrollError> {
    let key = next_key(key_file)?;
    let (mut ca, roots) = with_root(remote, token).await?;
    let request = IssueCertificateRequest {
        csr_pem: csr_for(&key)?.into_bytes(),
        token: token.to_owned(),
        availability: availability.into(),
        ..IssueCertificateRequest::default()
    };
    let certificate = issue(&mut ca, request).await?;
    let identity = Identity::from_pem(&certificate.certificate_pem, key, &roots)?;
    timely(&identity)?;
    Ok(identity)
}

/// Whether a first certificate is valid by this node's clock: with another it could not say a word.
fn timely(identity: &Identity) -> Result<(), EnrollError> {
    let (validity, now) = (identity.certificate(), SystemClock::new().now());
    match validity.is_valid(now) {
        true => Ok(()),
        false => Err(EnrollError::Untimely(date(validity.not_before), date(validity.not_after), date(now))),
    }
}

/// A valid certificate for a node whose own is none any more, with a join token. The key it holds says that it is that node;
/// `key_file` may have another one, of a renewal whose answer was lost.
///
/// # Errors
/// See [`EnrollError`].
pub(super) async fn again(
    remote: &str,
    token: &str,
    current: &Identity,
    key_file: &Path,
) -> Result<Identity, EnrollError> {
    let (mut ca, roots) = with_root(remote, token).await?;
    if roots != current.roots_pem() {
        return Err(EnrollError::OtherSwarm);
    }
    let mut refusal = None;
    for key in [Some(current.key_pem().clone()), saved_key(key_file)?].into_iter().flatten() {
        let request = IssueCertificateRequest {
            csr_pem: csr_for(&key)?.into_bytes(),
            token: token.to_owned(),
            node_id: current.node_id().to_owned(),
            ..IssueCertificateRequest::default()
        };
        match issue(&mut ca, request).await {
            Ok(certificate) => return Ok(Identity::from_pem(&certificate.certificate_pem, key, &roots)?),
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.unwrap_or_else(|| EnrollError::Refused("this node has no key".to_owned())))
}

/// A new certificate for the node that `dialer` speaks for, for the role the swarm wants it to have now.
///
/// # Errors
/// See [`EnrollError`].
pub(super) async fn renew(
    dialer: &Dialer,
    manager: &str,
    roots: &[u8],
    key_file: &Path,
) -> Result<Identity, EnrollError> {
    let key = next_key(key_file)?;
    let request =
        IssueCertificateRequest { csr_pem: csr_for(&key)?.into_bytes(), ..IssueCertificateRequest::default() };
    let mut ca = CaClient::new(dialer.channel(manager, Expect::Manager));
    let certificate = issue(&mut ca, request).await?;
    Ok(Identity::from_pem(&certificate.certificate_pem, key, roots)?)
}

/// A client of the authority at `remote` that the token vouches for, and its root bundle.
async fn with_root(remote: &str, token: &str) -> Result<(CaClient<Channel>, Vec<u8>), EnrollError> {
    let parsed = JoinToken::parse(token)?;
    let mut ca = CaClient::new(Dialer::anonymous_unverified(remote));
    let roots = ca.get_root_ca(within(GetRootCaRequest {})).await?.into_inner().certificate_pem;
    if !parsed.matches_root(&roots) {
        return Err(EnrollError::WrongRoot);
    }
    Ok((CaClient::new(Dialer::anonymous(remote, &roots)?), roots))
}

async fn issue(ca: &mut CaClient<Channel>, request: IssueCertificateRequest) -> Result<Certificate, EnrollError> {
    let node_id = ca.issue_certificate(within(request)).await?.into_inner().node_id;
    issued(ca, &node_id).await
}

/// The key of the certificate that is asked for next: the one in `file`, or a new one that is there from now on.
fn next_key(file: &Path) -> Result<Secret<String>, EnrollError> {
    if let Some(key) = saved_key(file)? {
        return Ok(key);
    }
    let (key, _) = new_key_and_csr()?;
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).map_err(EnrollError::Key)?;
    }
    write_atomic(file, key.expose().as_bytes(), 0o600).map_err(EnrollError::Key)?;
    Ok(key)
}

/// The key in `file`; `None` when there is none, or what is there is no key.
fn saved_key(file: &Path) -> Result<Option<Secret<String>>, EnrollError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(Secret::new(text)).filter(|key| csr_for(key).is_ok())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(EnrollError::Key(error)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_refusal_by_the_swarm() {
        assert!(EnrollError::Key(io::ErrorKind::StorageFull.into()).is_passing());
        assert!(!EnrollError::WrongRoot.is_passing());
    }

    #[test]
    fn a_key_is_asked_for_again_until_its_certificate_has_come() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("identity/next.key");
        let first = next_key(&file).unwrap();
        assert_eq!(next_key(&file).unwrap().expose(), first.expose());
        fs::write(&file, "half a key").unwrap();
        assert_ne!(next_key(&file).unwrap().expose(), first.expose());
        fs::remove_file(&file).unwrap();
        assert!(saved_key(&file).unwrap().is_none());
    }
}
