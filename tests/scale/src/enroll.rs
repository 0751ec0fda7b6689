//! How a node comes by its certificate: with a join token, as in the daemon, but with nothing kept on a disk meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skep_common::{
    limits::RPC_DEADLINE,
    net::{
        backoff::Backoff,
        dial::{Dialer, describe},
        identity::{Identity, new_key_and_csr},
    },
    token::JoinToken,
};
use skep_proto::v1::{
    Availability, CertificateStatusRequest, GetRootCaRequest, IssueCertificateRequest, ca_client::CaClient,
};
use tonic::{Request, Status, transport::Channel};

/// Attempts at each call: a manager that takes in many at a time may say that it is busy.
const ATTEMPTS: usize = 8;

/// Makes a new node of the swarm that the manager at `addr` belongs to.
pub(crate) async fn enroll(addr: &str, token: &str, availability: Availability) -> Result<Identity> {
    let digest = JoinToken::parse(token)?;
    let open = CaClient::new(Dialer::anonymous_unverified(addr));
    let roots = call(|| {
        let mut ca = open.clone();
        async move { ca.get_root_ca(within(GetRootCaRequest {})).await }
    });
    let roots = roots.await.context("cannot fetch the root certificate")?.certificate_pem;
    ensure!(digest.matches_root(&roots), "the root certificate is not the token's");

    let ca: CaClient<Channel> = CaClient::new(Dialer::anonymous(addr, &roots)?);
    let (key, csr) = new_key_and_csr()?;
    let request = IssueCertificateRequest {
        csr_pem: csr.into_bytes(),
        token: token.to_owned(),
        availability: availability.into(),
        ..IssueCertificateRequest::default()
    };
    let issued = call(|| {
        let (mut ca, request) = (ca.clone(), request.clone());
        async move { ca.issue_certificate(within(request)).await }
    });
    let node_id = issued.await.context("no certificate was issued")?.node_id;
    let status = call(|| {
        let (mut ca, node_id) = (ca.clone(), node_id.clone());
        async move { ca.certificate_status(within(CertificateStatusRequest { node_id })).await }
    });
    let certificate = status.await?.certificate.context("the certificate is not there")?;
    Ok(Identity::from_pem(&certificate.certificate_pem, key, &roots)?)
}

/// What a call gives in the end: repeating one of these is harmless, since the same key gets the same answer.
async fn call<T, F: Future<Output = Result<tonic::Response<T>, Status>>>(mut make: impl FnMut() -> F) -> Result<T> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match make().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => last = describe(&status),
        }
        backoff.wait().await;
    }
    anyhow::bail!(last)
}

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(RPC_DEADLINE);
    request
}
