//! What users and peers may write. Text is checked and parsed here, once, at the edge; behind it are typed values.
//!
//! Every refusal is one sentence that can be shown as it is, Docker's own where Docker has one. Placement
//! constraints have a language of their own and live with the scheduler.

mod address;
mod capability;
mod image;
mod log_driver;
mod names;
mod signal;
mod sysctl;
mod ulimit;

pub use self::{
    address::HostPort,
    capability::{CAPABILITIES, Capability, parse_capability},
    image::ImageRef,
    log_driver::{JSON_FILE, JsonFile, NO_LOG, check_log_driver},
    names::{check_env, check_label, check_service_name},
    signal::{RTMAX, RTMIN, SIGNALS, parse_signal},
    sysctl::check_sysctl,
    ulimit::check_ulimit,
};
use crate::limits::MAX_SPEC_BYTES;

/// Input that is refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A name is missing.
    #[error("name must be provided")]
    NoName,
    /// A name is too long to be a DNS label.
    #[error("name must be {0} characters or fewer")]
    LongName(usize),
    /// A name is no DNS label.
    #[error("name must be valid as a DNS name component")]
    Name,
    /// A label has no key, or one that cannot be shown.
    #[error("invalid label '{0}': {1}")]
    Label(String, &'static str),
    /// An environment entry is neither `KEY=VALUE` nor `KEY`.
    #[error("invalid environment variable: {0}")]
    Env(String),
    /// Not `host:port`.
    #[error("invalid address '{0}': {1}")]
    Address(String, &'static str),
    /// Not an image reference.
    #[error("invalid reference format")]
    Image,
    /// An image name with capitals.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    ImageCase(String),
    /// An image name too long.
    #[error("repository name must not be more than 255 characters")]
    LongImage,
    /// A name that would be taken for an image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    ImageId(String),
    /// A word that names no signal.
    #[error("Invalid signal: {0}")]
    Signal(String),
    /// A word that names no capability.
    #[error("unknown capability: \"{0}\"")]
    Capability(String),
    /// A kernel parameter no container has to itself.
    #[error("sysctl \"{0}\" is not in a separate kernel namespace")]
    Sysctl(String),
    /// A kernel parameter of a network that is the host's.
    #[error("sysctl \"{0}\" not allowed in host network namespace")]
    SysctlOfHost(String),
    /// A limit the kernel does not have.
    #[error("invalid ulimit type: {0}")]
    Ulimit(String),
    /// A soft limit above its hard limit.
    #[error("ulimit soft limit must be less than or equal to hard limit: {0} > {1}")]
    UlimitOrder(i64, i64),
    /// An option no log driver of ours has.
    #[error("unknown log opt '{0}' for json-file log driver")]
    UnknownLogOption(String),
    /// An option of a log driver with a value that makes no sense.
    #[error("invalid {0}: {1}")]
    LogOption(String, String),
    /// A spec too large to replicate.
    #[error("the spec is too large: {0} bytes, and at most {MAX_SPEC_BYTES} are allowed")]
    Size(usize),
}

/// Checks the encoded size of a spec.
pub fn check_spec_size(encoded_len: usize) -> Result<(), Invalid> {
    if encoded_len > MAX_SPEC_BYTES { Err(Invalid::Size(encoded_len)) } else { Ok(()) }
}

/// At most this much of a refused text is repeated in the error.
fn shown(text: &str) -> String {
    const LONGEST: usize = 100;
    let visible = text.chars().take(LONGEST).flat_map(char::escape_debug).collect::<String>();
    if text.chars().nth(LONGEST).is_some() { visible + "…" } else { visible }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_have_a_size() {
        assert_eq!(check_spec_size(MAX_SPEC_BYTES), Ok(()));
        let refusal = check_spec_size(MAX_SPEC_BYTES + 1).unwrap_err().to_string();
        assert_eq!(refusal, "the spec is too large: 1048577 bytes, and at most 1048576 are allowed");
    }

    #[test]
    fn refusals_do_not_echo_what_could_hurt() {
        assert_eq!(shown("a\x1b[2J\0\n"), "a\\u{1b}[2J\\0\\n");
        assert_eq!(shown(&"é".repeat(1_000_000)).chars().count(), 101);
    }
}
