//! Versions: the one in front of a path (`/v1.41/…`), and `GET /version`.

use axum::{Json, Router, extract::State, routing::get};
use http::{StatusCode, Uri, uri::PathAndQuery};
use skep_dockerapi::{
    API_VERSION, MIN_API_VERSION,
    types::{Component, PlatformName, VersionInfo},
};

use super::{error::ApiError, host, state::Api};

/// The version a client speaks: minor of 1.x. Without one in the path it is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiVersion(pub(super) u32);

impl ApiVersion {
    /// Logs name their content type, and are only then told apart from a hijacked connection.
    pub(super) const TYPED_STREAMS: Self = Self(42);
    /// An image has one size.
    pub(super) const ONE_IMAGE_SIZE: Self = Self(44);

    fn parse(text: &str) -> Option<Self> {
        let minor = text.strip_prefix("1.")?;
        minor.bytes().all(|b| b.is_ascii_digit()).then(|| minor.parse().ok().map(Self)).flatten()
    }
}

/// Takes the version off the path of a request.
pub(super) fn take(uri: &Uri) -> Result<(ApiVersion, Uri), ApiError> {
    let newest = ApiVersion::parse(API_VERSION).unwrap_or(ApiVersion(0));
    let oldest = ApiVersion::parse(MIN_API_VERSION).unwrap_or(ApiVersion(0));
    let Some((asked, rest)) = uri.path().strip_prefix("/v").and_then(|path| path.split_once('/')) else {
        return Ok((newest, uri.clone()));
    };
    if !asked.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok((newest, uri.clone()));
    }
    let version = ApiVersion::parse(asked).ok_or_else(page_not_found)?;
    if version > newest {
        let text = format!("client version {asked} is too new. Maximum supported API version is {API_VERSION}");
        return Err(ApiError::bad(text));
    }
    if version < oldest {
        return Err(ApiError::bad(format!(
            "client version {asked} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade \
             your client to a newer version"
        )));
    }
    let rest = match uri.query() {
        Some(query) => format!("/{rest}?{query}"),
        None => format!("/{rest}"),
    };
    let rest: PathAndQuery = rest.parse().map_err(|_| page_not_found())?;
    Ok((version, Uri::from(rest)))
}

/// What there is at a path without a handler.
pub(super) fn page_not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "page not found")
}

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/version", get(show))
}

/// `GET /version`.
async fn show(State(api): State<Api>) -> Json<VersionInfo> {
    let description = &api.backend.host.description;
    let version = &description.engine_version;
    let kernel = host::kernel_version();
    let details = [
        ("ApiVersion", API_VERSION),
        ("Arch", host::ARCH),
        ("BuildTime", ""),
        ("Experimental", "false"),
        ("GitCommit", ""),
        ("GoVersion", ""),
        ("KernelVersion", &kernel),
        ("MinAPIVersion", MIN_API_VERSION),
        ("Os", "linux"),
    ];
    Json(VersionInfo {
        platform: PlatformName { name: "skep".to_owned() },
        components: vec![Component {
            name: "Engine".to_owned(),
            version: version.clone(),
            details: details.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }],
        version: version.clone(),
        api_version: API_VERSION.to_owned(),
        min_api_version: MIN_API_VERSION.to_owned(),
        git_commit: String::new(),
        go_version: String::new(),
        os: "linux".to_owned(),
        arch: host::ARCH.to_owned(),
        kernel_version: kernel,
        build_time: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_paths() {
        let table = [
            ("/version", Ok((46, "/version"))),
            ("/v1.24/info?a=b", Ok((24, "/info?a=b"))),
            ("/v1.46/images/a/b/json", Ok((46, "/images/a/b/json"))),
            ("/volumes", Ok((46, "/volumes"))),
            ("/volumes/x", Ok((46, "/volumes/x"))),
            ("/v1.23/info", Err(400)),
            ("/v1.47/info", Err(400)),
            ("/v2.0/info", Err(404)),
            ("/v1./info", Err(404)),
            ("/v1.+4/info", Err(404)),
            ("/v1.99999999999/info", Err(404)),
            ("/v1.41", Ok((46, "/v1.41"))),
        ];
        for (path, expected) in table {
            let taken = take(&path.parse().unwrap());
            let taken = taken.map(|(v, uri)| (v.0, uri.to_string())).map_err(|e| e.status.as_u16());
            let expected = expected.map(|(v, path): (u32, &str)| (v, path.to_owned()));
            assert_eq!(taken, expected, "{path}");
        }
    }
}
