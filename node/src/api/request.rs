//! What a request carries: its parameters and its body.
//!
//! Of headers one is looked at, `X-Registry-Auth`: there is no registry to log in to, so what is in it cannot be used.
//! It is a secret and never repeated.

use std::{collections::HashMap, str::FromStr};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Query, Request},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::{StatusCode, Uri, request::Parts};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use skep_common::limits::MAX_SPEC_BYTES;
use skep_dockerapi::{decode, filters::Filters, time::Time};

use super::{body, error::ApiError};

/// The parameters of a request. Of one given twice the first counts, as in Go.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        Self::of(&parts.uri).map_err(ApiError::into_response)
    }
}

impl Params {
    /// The parameters of an address.
    pub(super) fn of(uri: &Uri) -> Result<Self, ApiError> {
        match Query::try_from_uri(uri) {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(error) => Err(ApiError::bad(format!("invalid query: {error}"))),
        }
    }

    /// A parameter; `None` when absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first parameter that is not among `known`.
    pub(super) fn unknown(self, known: &[&str]) -> Option<String> {
        self.0.into_iter().map(|(name, _)| name).find(|name| !known.contains(&name.as_str()))
    }

    /// A parameter; empty when absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A parameter that is true or false: everything but these words is true, as in Docker.
    pub(super) fn flag(&self, name: &str) -> bool {
        !matches!(self.text(name).trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// The version an update starts from.
    pub(super) fn version(&self, kind: &str) -> Result<u64, ApiError> {
        let text = self.text("version");
        u64::from_str(text).map_err(|_| {
            ApiError::bad(format!(
                "invalid {kind} version '{text}': strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        })
    }

    /// A time; 0 when absent.
    pub(super) fn time(&self, name: &str) -> Result<Time, ApiError> {
        Ok(Time::parse_query(self.text(name))?)
    }

    /// The filters, all of them among `known`.
    pub(super) fn filters(&self, known: &[&str]) -> Result<Filters, ApiError> {
        Ok(Filters::parse(self.get("filters"))?.accept(known)?)
    }
}

/// A request without credentials for a registry. Clients send an empty set of them when they have none, or something else
/// altogether (one puts the whole request there).
pub(super) struct NoRegistryAuth;

impl<S: Sync> FromRequestParts<S> for NoRegistryAuth {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        let sent = parts.headers.get("x-registry-auth").map_or(&b""[..], |value| value.as_bytes());
        if !has_credentials(sent) {
            return Ok(Self);
        }
        let text = "not supported yet: X-Registry-Auth (there is no registry to log in to: images are loaded)";
        Err(ApiError::bad(text).into_response())
    }
}

/// Whether the header has anything an engine would log in with. Like the engine it takes what cannot be read for nothing.
fn has_credentials(header: &[u8]) -> bool {
    const CREDENTIALS: [&str; 5] = ["username", "password", "auth", "identitytoken", "registrytoken"];
    let url_safe = header.iter().filter(|byte| **byte != b'=').map(|byte| match byte {
        b'+' => b'-',
        b'/' => b'_',
        byte => *byte,
    });
    let Ok(json) = BASE64URL_NOPAD.decode(&url_safe.collect::<Vec<u8>>()) else { return false };
    let Ok(fields) = serde_json::from_slice::<HashMap<String, serde_json::Value>>(&json) else { return false };
    fields.iter().any(|(name, value)| {
        let is_empty = value.is_null() || value.as_str().is_some_and(str::is_empty);
        !is_empty && CREDENTIALS.iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}

/// A JSON body, at most as large as a spec may be.
pub(super) struct Spec<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Spec<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Response> {
        let read = async {
            let body = read(request.into_body()).await?;
            Ok::<_, ApiError>(Self(decode::request(&body)?))
        };
        read.await.map_err(ApiError::into_response)
    }
}

async fn read(mut body: Body) -> Result<Bytes, ApiError> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreadable(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > MAX_SPEC_BYTES {
            let text = format!("the request is too large: at most {MAX_SPEC_BYTES} bytes are allowed");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.into())
}

fn unreadable(error: &axum::Error) -> ApiError {
    if body::is_too_slow(error) {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "the request took too long to arrive")
    } else {
        ApiError::bad(format!("the request could not be read: {error}"))
    }
}
