//! Image references: `nginx`, `registry:5000/team/app:1.2`, `app@sha256:…`.
//!
//! The grammar and the way short names are completed are those of the OCI distribution project's `reference`
//! package: without a registry `docker.io` is meant, there without a namespace `library`, without a tag and a digest
//! the tag `latest`.

use std::fmt;

use super::Invalid;

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const DEFAULT_NAMESPACE: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A complete image reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageRef {
    /// Reads a reference in its short or its full form.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() == 64 && text.bytes().all(is_lower_hex) {
            return Err(Invalid::ImageId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (domain, rest) = split_domain(rest);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let official = domain == DEFAULT_DOMAIN && !path.contains('/');
        let path = if official { format!("{DEFAULT_NAMESPACE}{path}") } else { path.to_owned() };

        if path.bytes().any(|b| b.is_ascii_uppercase()) && is_path(&path.to_ascii_lowercase()) {
            return Err(Invalid::ImageCase(path));
        }
        let valid = is_domain(domain) && is_path(&path) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
        if !valid {
            return Err(Invalid::Image);
        }
        if path.len() > MAX_NAME {
            return Err(Invalid::LongImage);
        }
        Ok(Self {
            domain: domain.to_owned(),
            path,
            tag: tag.or(digest.is_none().then_some(DEFAULT_TAG)).map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// The registry: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag. Absent only beside a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, `sha256:…`.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The shortest form that still means the same, the one people know: `nginx:latest`.
    pub fn familiar(&self) -> String {
        let short =
            self.path.strip_prefix(DEFAULT_NAMESPACE).filter(|short| !short.contains('/')).unwrap_or(&self.path);
        // A namespace may look like a registry: then it does not go without the real one.
        if self.domain == DEFAULT_DOMAIN && split_domain(short) == (DEFAULT_DOMAIN, short) {
            format!("{short}{}", self.suffix())
        } else {
            self.to_string()
        }
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

/// The full form: `docker.io/library/nginx:latest`.
impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

/// The registry and what follows it. The first part is a registry only if it could not be a namespace.
fn split_domain(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest)) => {
            let is_registry =
                first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase());
            if is_registry { (first, rest) } else { (DEFAULT_DOMAIN, text) }
        }
        None => (DEFAULT_DOMAIN, text),
    }
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_v6 = |host: &str| {
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| !host.is_empty() && host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'))
    };
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
        && (is_v6(host) || host.split('.').all(is_label))
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// Runs of `[a-z0-9]` joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(|b| is_alphanumeric(*b)))
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

/// `sha256:` and 64 hex digits: the only algorithm the content store verifies.
fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_lower_hex))
}

fn is_lower_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_names_are_completed_and_shortened_again() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("skep/demo:1", "docker.io/skep/demo:1", "skep/demo:1"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
            ("host:5000/team/app", "host:5000/team/app:latest", "host:5000/team/app:latest"),
            ("Host/app", "Host/app:latest", "Host/app:latest"),
            ("[::1]:5000/app:x", "[::1]:5000/app:x", "[::1]:5000/app:x"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
            ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest", "a__b/c--d.e:latest"),
        ];
        for (text, full, familiar) in cases {
            let image = ImageRef::parse(text).unwrap();
            assert_eq!((image.to_string().as_str(), image.familiar().as_str()), (full, familiar), "{text}");
        }
        let pinned = ImageRef::parse(&format!("nginx@{digest}")).unwrap();
        assert_eq!(pinned.to_string(), format!("docker.io/library/nginx@{digest}"));
        assert_eq!((pinned.tag(), pinned.digest()), (None, Some(&*digest)));
        let both = ImageRef::parse(&format!("nginx:1@{digest}")).unwrap();
        assert_eq!(both.familiar(), format!("nginx:1@{digest}"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let bad = [
            "",
            ":",
            "@",
            "/",
            "a//b",
            "a/",
            "/a",
            "../a",
            "a/../b",
            "a b",
            "a\0",
            "a:",
            "a:-x",
            "a:b:c",
            "a@",
            "a@sha256:12",
            "a@md5:0",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "-h.x/a",
            "h:x/a",
            "h:/a",
            "é",
            "a:é",
            "a?b",
            "http://a/b",
        ];
        for text in bad {
            assert_eq!(ImageRef::parse(text), Err(Invalid::Image), "{text}");
        }
        assert_eq!(ImageRef::parse(&format!("a:{}", "t".repeat(129))), Err(Invalid::Image));
        assert_eq!(ImageRef::parse(&format!("a{}", "/a".repeat(200))), Err(Invalid::LongImage));
        assert_eq!(
            ImageRef::parse("Nginx").unwrap_err().to_string(),
            "invalid reference format: repository name (library/Nginx) must be lowercase"
        );
        assert_eq!(ImageRef::parse(&"a".repeat(64)), Err(Invalid::ImageId("a".repeat(64))));
    }

    proptest! {
        #[test]
        fn the_full_and_the_familiar_form_mean_the_same(text in "[a-z0-9.:/_@-]{1,40}") {
            if let Ok(image) = ImageRef::parse(&text) {
                prop_assert_eq!(ImageRef::parse(&image.to_string()), Ok(image.clone()));
                prop_assert_eq!(ImageRef::parse(&image.familiar()), Ok(image));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}") {
            let _ = ImageRef::parse(&text);
        }
    }
}
