//! What the daemon knows of its machine: read once at the start.

use std::{fs, io, path::Path};

use skep_common::{
    durable::write_atomic,
    feature_level::FEATURE_LEVEL,
    id::{Ids, RandomIds},
};
use skep_proto::v1::{NodeDescription, Platform, Plugin, Resources};

use super::DaemonOptions;
use crate::api::backend::HostFacts;

/// Version of this build, `info`'s and `version`'s.
pub const ENGINE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Gathers the facts; the engine id is made on the first start and kept.
///
/// # Errors
/// When the engine id can be neither read nor written.
pub(super) fn gather(options: &DaemonOptions) -> io::Result<HostFacts> {
    let machine = rustix::system::uname();
    let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
    let description = NodeDescription {
        hostname: text(machine.nodename()),
        platform: Some(Platform { architecture: text(machine.machine()), os: "linux".to_owned() }),
        resources: Some(Resources {
            nano_cpus: cpus() * 1_000_000_000,
            memory_bytes: memory(),
            generic: options.generic_resources.clone(),
        }),
        engine_version: ENGINE_VERSION.to_owned(),
        engine_labels: options.labels.clone(),
        plugins: vec![
            Plugin { r#type: "Log".to_owned(), name: "json-file".to_owned() },
            Plugin { r#type: "Network".to_owned(), name: "host".to_owned() },
            Plugin { r#type: "Network".to_owned(), name: "null".to_owned() },
        ],
        peer_addr: String::new(),
        feature_level: FEATURE_LEVEL,
    };
    Ok(HostFacts {
        engine_id: engine_id(&options.data_root.join("engine-id"))?,
        description,
        data_root: options.data_root.clone(),
    })
}

fn cpus() -> i64 {
    std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(1))
}

fn memory() -> i64 {
    let info = rustix::system::sysinfo();
    i64::try_from(info.totalram.saturating_mul(u64::from(info.mem_unit))).unwrap_or(i64::MAX)
}

fn engine_id(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
        Ok(_) => make_engine_id(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_engine_id(path),
        Err(error) => Err(error),
    }
}

fn make_engine_id(path: &Path) -> io::Result<String> {
    let id = RandomIds.next_id();
    write_atomic(path, id.as_bytes(), 0o644)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_id_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine-id");
        let first = engine_id(&path).unwrap();
        assert_eq!(first.len(), 25);
        assert_eq!(engine_id(&path).unwrap(), first);
        fs::write(&path, "").unwrap();
        assert_ne!(engine_id(&path).unwrap(), first);
    }

    #[test]
    fn a_machine_has_processors_and_memory() {
        assert!(cpus() >= 1);
        assert!(memory() > 1 << 20);
    }
}
