//! Names of images and plugins in paths. They hold slashes, and Docker's clients send them as they are:
//! `/images/skep/demo:1/json`.
//!
//! Here such a name becomes one segment, so that routes are plain and each says all there is to it.

use http::{Method, Uri, uri::PathAndQuery};

/// What may follow a name, by method.
fn actions(method: &Method) -> &'static [&'static str] {
    match *method {
        Method::GET | Method::HEAD => &["json", "history", "get"],
        Method::POST => &["push", "tag", "enable", "disable", "upgrade", "set"],
        _ => &[],
    }
}

/// The path with the name in it as one segment; as it is where there is none.
pub(super) fn fold(method: &Method, uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let (group, rest) = path.strip_prefix('/')?.split_once('/')?;
    if !matches!(group, "images" | "distribution" | "plugins") {
        return None;
    }
    let (name, action) = match rest.rsplit_once('/') {
        Some((name, action)) if actions(method).contains(&action) => (name, Some(action)),
        _ => (rest, None),
    };
    if !name.contains('/') {
        return None;
    }
    let mut folded = format!("/{group}/{}", name.replace('/', "%2F"));
    for (separator, part) in [('/', action), ('?', uri.query())] {
        if let Some(part) = part {
            folded.push(separator);
            folded.push_str(part);
        }
    }
    folded.parse::<PathAndQuery>().ok().map(Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        let table = [
            (Method::GET, "/images/json?all=1", "/images/json?all=1"),
            (Method::GET, "/images/busybox:1/json", "/images/busybox:1/json"),
            (Method::GET, "/images/skep/demo:1/json?x=/y", "/images/skep%2Fdemo:1/json?x=/y"),
            (Method::GET, "/images/a/json/json", "/images/a%2Fjson/json"),
            (Method::GET, "/images/host:5000/a/b/history", "/images/host:5000%2Fa%2Fb/history"),
            (Method::POST, "/images/a/b/push?tag=1", "/images/a%2Fb/push?tag=1"),
            (Method::DELETE, "/images/a/json", "/images/a%2Fjson"),
            (Method::GET, "/distribution/a/b/json", "/distribution/a%2Fb/json"),
            (Method::POST, "/plugins/a/b/enable", "/plugins/a%2Fb/enable"),
            (Method::GET, "/containers/a/b/json", "/containers/a/b/json"),
            (Method::GET, "/images", "/images"),
        ];
        for (method, path, expected) in table {
            let uri: Uri = path.parse().unwrap();
            assert_eq!(fold(&method, &uri).unwrap_or(uri).to_string(), expected, "{method} {path}");
        }
    }
}
