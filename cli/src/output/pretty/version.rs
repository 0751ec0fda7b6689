//! `version`: both sides.

use std::fmt::Write as _;

use skep_dockerapi::{API_VERSION, types::VersionInfo};

/// Go's name of this program's architecture.
pub(crate) const GOARCH: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    _ => std::env::consts::ARCH,
};

/// This side. `agreed` is the API version spoken, when a daemon answered.
pub(crate) fn client(agreed: Option<&str>) -> String {
    let api = match agreed {
        Some(agreed) if agreed != API_VERSION => format!("{agreed} (downgraded from {API_VERSION})"),
        _ => API_VERSION.to_owned(),
    };
    let mut shown = "Client:\n".to_owned();
    line(&mut shown, 1, "Version", env!("CARGO_PKG_VERSION"));
    line(&mut shown, 1, "API version", &api);
    line(&mut shown, 1, "OS/Arch", &format!("{}/{GOARCH}", std::env::consts::OS));
    shown
}

/// The daemon's side.
pub(crate) fn server(daemon: &VersionInfo) -> String {
    let mut shown = "\nServer:".to_owned();
    if !daemon.platform.name.is_empty() {
        shown.push(' ');
        shown.push_str(&daemon.platform.name);
    }
    shown.push_str("\n Engine:\n");
    line(&mut shown, 2, "Version", &daemon.version);
    let api = format!("{} (minimum version {})", daemon.api_version, daemon.min_api_version);
    line(&mut shown, 2, "API version", &api);
    line(&mut shown, 2, "Git commit", &daemon.git_commit);
    line(&mut shown, 2, "Built", &daemon.build_time);
    line(&mut shown, 2, "OS/Arch", &format!("{}/{}", daemon.os, daemon.arch));
    line(&mut shown, 2, "Kernel", &daemon.kernel_version);
    shown
}

/// What is not known is left out.
fn line(shown: &mut String, indent: usize, name: &str, value: &str) {
    if !value.is_empty() {
        let name = format!("{}{name}:", " ".repeat(indent));
        let _ = writeln!(shown, "{name:<20}{value}");
    }
}
