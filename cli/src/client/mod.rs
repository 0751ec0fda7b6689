//! The Docker Engine API from the client's side, over the daemon's unix socket.
//!
//! Owns nothing but the address and the version agreed on. Every call is a connection of its own: a socket on the same
//! machine costs nothing, and there is no broken connection to find out about. Every call has a deadline; streams have
//! one for their beginning only.

mod api;
mod draft;
mod error;
mod stream;
mod target;
#[cfg(test)]
pub(crate) mod testing;

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use skep_dockerapi::{API_VERSION, decode, types::ErrorBody};
use tokio::{net::UnixStream, sync::OnceCell, time::timeout};

use self::target::Target;
pub(crate) use self::{
    api::{LogQuery, LogSource},
    draft::Draft,
    error::ClientError,
    stream::ByteStream,
};

/// The daemon's default socket.
pub(crate) const DEFAULT_HOST: &str = "unix:///run/skep/skep.sock";

/// For an answer. `swarm join` takes up to 20 s and a leaving node stops its tasks first.
const DEADLINE: Duration = Duration::from_secs(120);

/// Largest answer read into memory.
const MAX_ANSWER: usize = 256 << 20;

/// A request's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A way to one daemon.
pub(crate) struct Client {
    host: String,
    socket: PathBuf,
    version: OnceCell<String>,
}

impl Client {
    /// A client of the daemon at `host`, `unix:///path`. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError::Host`].
    pub(crate) fn new(host: &str) -> Result<Self, ClientError> {
        let socket = match host.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => PathBuf::from(path),
            _ => return Err(ClientError::Host(host.to_owned())),
        };
        Ok(Self { host: host.to_owned(), socket, version: OnceCell::new() })
    }

    /// The API version both sides speak: ours, or the daemon's where that is older.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    pub(crate) async fn api_version(&self) -> Result<&str, ClientError> {
        let version = self.version.get_or_try_init(|| async {
            let ping = self.exchange(Method::GET, "/_ping", None, empty()).await?;
            let theirs = ping.headers().get("api-version").and_then(|version| version.to_str().ok());
            Ok::<_, ClientError>(older(API_VERSION, theirs.unwrap_or(API_VERSION)).to_owned())
        });
        Ok(version.await?)
    }

    async fn get<T: DeserializeOwned>(&self, target: Target) -> Result<T, ClientError> {
        Ok(decode::answer(&self.call(Method::GET, target, None).await?)?)
    }

    async fn post<T: DeserializeOwned>(&self, target: Target, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Request)?;
        Ok(decode::answer(&self.call(Method::POST, target, Some(body)).await?)?)
    }

    /// A call whose answer has no body worth reading.
    async fn tell(&self, method: Method, target: Target, body: Option<Vec<u8>>) -> Result<(), ClientError> {
        self.call(method, target, body).await.map(drop)
    }

    async fn call(&self, method: Method, target: Target, body: Option<Vec<u8>>) -> Result<Bytes, ClientError> {
        let content_type = body.as_ref().map(|_| "application/json");
        let body = body.map_or_else(empty, |body| full(body.into()));
        let path = target.path(self.api_version().await?);
        let whole = async {
            let response = self.exchange(method, &path, content_type, body).await?;
            read(response).await
        };
        timeout(DEADLINE, whole).await.map_err(|_| self.no_answer())?
    }

    /// A call whose answer is read as it comes. `content_type` is the body's, where there is one.
    async fn stream(
        &self,
        method: Method,
        target: Target,
        content_type: Option<&str>,
        body: Body,
    ) -> Result<ByteStream, ClientError> {
        let path = target.path(self.api_version().await?);
        Ok(ByteStream::new(self.exchange(method, &path, content_type, body).await?.into_body()))
    }

    /// One request on a connection of its own; an error status is an error.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Body,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| ClientError::connect(&self.host, error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer; what goes wrong on the way shows there.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "skep");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let response = sender.send_request(request.body(body)?).await?;
        if response.status().is_client_error() || response.status().is_server_error() {
            return Err(self.refusal(response).await);
        }
        Ok(response)
    }

    async fn refusal(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status();
        match timeout(DEADLINE, read(response)).await {
            Ok(Ok(body)) => {
                let text = decode::answer::<ErrorBody>(&body)
                    .map_or_else(|_| String::from_utf8_lossy(&body).into_owned(), |error| error.message);
                let message = match text.trim() {
                    "" => status.to_string(),
                    text => text.to_owned(),
                };
                ClientError::Api { status, message }
            }
            Ok(Err(error)) => error,
            Err(_) => self.no_answer(),
        }
    }

    fn no_answer(&self) -> ClientError {
        ClientError::NoAnswer { host: self.host.clone(), seconds: DEADLINE.as_secs() }
    }
}

async fn read(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(ClientError::Body)?;
    Ok(body.to_bytes())
}

fn empty() -> Body {
    full(Bytes::new())
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// The lower of two versions `major.minor`; one that cannot be read is not chosen.
fn older<'a>(ours: &'a str, theirs: &'a str) -> &'a str {
    let numbers = |version: &str| -> Option<(u32, u32)> {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    match (numbers(ours), numbers(theirs)) {
        (Some(our), Some(their)) if their < our => theirs,
        _ => ours,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{testing::FakeDaemon, *};

    #[test]
    fn only_absolute_unix_sockets_are_hosts() {
        assert!(Client::new(DEFAULT_HOST).is_ok());
        for wrong in ["tcp://10.0.0.1:2375", "unix://", "unix://skep.sock", "/run/skep.sock", ""] {
            let error = Client::new(wrong).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with(&format!("unable to parse docker host `{wrong}`")), "{error}");
        }
    }

    #[test]
    fn the_older_version_is_spoken() {
        assert_eq!(older("1.46", "1.41"), "1.41");
        assert_eq!(older("1.9", "1.46"), "1.9");
        assert_eq!(older("1.46", "1.100"), "1.46");
        assert_eq!(older("1.46", "new"), "1.46");
    }

    #[tokio::test]
    async fn calls_speak_the_agreed_version() {
        let daemon = FakeDaemon::new().speaking("1.43").on("GET /v1.43/nodes/n1", json!({"ID": "n1"}));
        let node = daemon.client().node("n1").await.unwrap();
        assert_eq!(node.id, "n1");
    }

    #[tokio::test]
    async fn a_refusal_is_said_as_docker_says_it() {
        let daemon = FakeDaemon::new().refusing("GET /v1.46/nodes/x", 404, "node x not found");
        let error = daemon.client().node("x").await.unwrap_err();
        assert_eq!(error.to_string(), "Error response from daemon: node x not found");
        assert!(error.is_not_found());
    }

    #[tokio::test]
    async fn nobody_there_is_said_plainly() {
        let dir = tempfile::tempdir().unwrap();
        let host = format!("unix://{}/no.sock", dir.path().display());
        let error = Client::new(&host).unwrap().info().await.unwrap_err();
        let expected = format!("Cannot connect to the skep daemon at {host}. Is the skep daemon running?");
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_an_error() {
        let daemon = FakeDaemon::new().on("GET /v1.46/nodes/n1", json!([1]));
        let error = daemon.client().node("n1").await.unwrap_err().to_string();
        assert!(error.starts_with("the daemon's answer cannot be read: "), "{error}");
    }
}
