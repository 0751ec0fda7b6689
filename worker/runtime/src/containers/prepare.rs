//! Makes a container: resolves what it is to run, writes its bundle.

use std::{
    collections::BTreeMap,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::{Arc, PoisonError},
    time::SystemTime,
};

use skep_common::clock::Timestamp;
use skep_proto::v1::NetworkMode;
use skep_shim::plan::Overlay;

use super::{
    Inner,
    entry::{ContainerEntry, Phase},
    paths::is_id,
    record::Record,
    storage,
};
use crate::{
    ContainerSpecification, Details, RuntimeError,
    bundle::{Accounts, BundleFiles, BundlePaths, Process},
    file_tree::remove_tree,
    image::{Defaults, StoredImage},
};

/// In the bundle once a start was tried: there is never a second one.
pub(super) const STARTED: &str = "started";
/// In the bundle: what the container writes into its file system.
pub(super) const UPPER: &str = "upper";
/// How much of the id a container is called by inside, as in Docker.
const SHORT_ID: usize = 12;

impl Inner {
    /// See [`crate::Runtime::prepare`]. Blocks. The caller holds the container's stripe.
    pub(super) fn prepare(&self, container: &ContainerSpecification) -> Result<(), RuntimeError> {
        let id = &container.id;
        if !is_id(id) {
            return Err(RuntimeError::InvalidSpecification(format!(
                "{:?} cannot be a container's id",
                id.chars().take(100).collect::<String>()
            )));
        }
        match self.entry(id) {
            Ok(entry) if entry.phase() == Phase::Created => return Ok(()),
            Ok(_) => return Err(RuntimeError::AlreadyStarted(id.clone())),
            Err(_) => {}
        }

        self.admit()?;
        let image = self.images.find(&container.container.image)?;
        supported(container, &image.defaults)?;
        let hostname = hostname(container);
        let accounts = self.accounts(&image)?;
        let process = Process::resolve(&container.container, &image.defaults, &accounts, &hostname)?;
        let details = Details::new(container, &image.defaults, &process.env, &hostname);
        let bundle = self.paths.bundle(id);
        let cgroup = self.cgroup(id);
        let shim = self.paths.shim(id);
        let paths = BundlePaths { bundle: &bundle, shim: &shim, cgroup: &cgroup };
        let files = BundleFiles::new(
            container,
            &process,
            hostname,
            self.overlay(id, &image),
            &paths,
            &self.host,
            &self.filters,
        )?;
        let record = Record {
            id: id.clone(),
            name: container.name.clone(),
            image: container.container.image.clone(),
            image_id: image.id.clone(),
            command: process.args,
            labels: labels(container, &image),
            created: Timestamp::from(SystemTime::now()).0,
            cgroup,
            stop_signal: process.stop_signal.number(),
            logged: container.log_driver.name != "none",
            details: Arc::new(details),
            layers: image.layers.clone(),
            ..Record::default()
        };

        write(&files, &record, &bundle).map_err(|error| {
            // What is left of it has no record: the next prepare or open clears it.
            let _ = remove_tree(&bundle);
            storage("cannot make the container", &error)
        })?;
        self.entries().insert(id.clone(), Arc::new(ContainerEntry::new(record, Phase::Created)));
        Ok(())
    }

    /// The cgroup of a container.
    pub(super) fn cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.config.cgroup_parent.trim_end_matches('/'))
    }

    fn overlay(&self, id: &str, image: &StoredImage) -> Overlay {
        let scratch = |name: &str| format!("../../containers/{id}/{name}");
        Overlay {
            base: self.images.layers_dir().to_owned(),
            lower: image.layers.iter().rev().cloned().collect(),
            upper: scratch(UPPER),
            work: scratch("work"),
        }
    }

    fn accounts(&self, image: &StoredImage) -> Result<Arc<Accounts>, RuntimeError> {
        let cache = || self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache().get(&image.id) {
            return Ok(Arc::clone(known));
        }
        let read = Accounts::read(self.images.layers_dir(), &image.layers, &self.paths.mount_point())
            .map_err(|error| storage("cannot read the image's users", &error))?;
        let read = Arc::new(read);
        cache().insert(image.id.clone(), Arc::clone(&read));
        Ok(read)
    }
}

/// What an image asks of its containers that this version does not do is an error, as it is in a specification.
fn supported(container: &ContainerSpecification, image: &Defaults) -> Result<(), RuntimeError> {
    let spec = &container.container;
    let refused = match image.volumes.first() {
        _ if image.healthcheck && !spec.no_healthcheck => {
            "the image has a HEALTHCHECK, which is not supported yet: --no-healthcheck runs it without".to_owned()
        }
        // Elsewhere what is written there goes to the container's own layer and lives as long as it does, as the
        // volume without a name would that Docker makes for a task.
        Some(volume) if spec.read_only => {
            format!("the image has a VOLUME {volume}, which is not supported yet beside a read-only root file system")
        }
        _ => return Ok(()),
    };
    Err(RuntimeError::InvalidSpecification(refused))
}

/// The image's labels under the container's own.
fn labels(container: &ContainerSpecification, image: &StoredImage) -> BTreeMap<String, String> {
    let mut labels = image.labels.clone();
    labels.extend(container.labels.clone());
    labels
}

fn write(files: &BundleFiles, record: &Record, bundle: &Path) -> io::Result<()> {
    remove_tree(bundle)?;
    DirBuilder::new().mode(0o700).create(bundle)?;
    files.write(bundle)?;
    record.save(bundle)
}

/// What the container calls itself: what was asked for, the host's name on the host's network, else its short id.
fn hostname(container: &ContainerSpecification) -> String {
    if !container.container.hostname.is_empty() {
        return container.container.hostname.clone();
    }
    if container.network == NetworkMode::Host {
        return rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    container.id.chars().take(SHORT_ID).collect()
}
