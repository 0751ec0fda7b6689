//! The image store: the index in memory, and how an archive becomes part of it.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use data_encoding::BASE32_NOPAD;
use rustix::fs::{FileType, syncfs};
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use super::{
    archive::Contents,
    blobs::{Blobs, Sha},
    budget::Budget,
    config::ImageConfig,
    disk,
    index::{Index, StoredImage},
    layer,
    layout::{Found, Manifest, images},
    reader::{ChannelReader, feed},
    work::Work,
};
use crate::{
    ArchiveReader, LoadedImage, RuntimeError,
    file_tree::{remove_tree, visit},
};

/// Loads that work at once.
const TURNS: usize = 4;
/// Loads under way at once. Those that wait for their clients cost a thread each and nothing else.
const LOADS: usize = 128;
/// Chunks of an archive between its client and the thread that works.
const QUEUE: usize = 8;

/// All images of the node. Shared; loads go on beside each other and lock each other out only for their last step.
#[derive(Debug)]
pub(crate) struct ImageStore {
    root: PathBuf,
    layers: PathBuf,
    blobs: Blobs,
    index: RwLock<Arc<Index>>,
    turns: Arc<Semaphore>,
    loads: Arc<Semaphore>,
    /// Loads begun since the store was opened.
    begun: AtomicU64,
    committing: Mutex<()>,
}

/// What a load has made so far; goes with the value.
struct Spool(PathBuf);

impl Drop for Spool {
    fn drop(&mut self) {
        // What stays for want of a working disk is cleared when the store is opened.
        let _ = remove_tree(&self.0);
    }
}

impl ImageStore {
    /// Opens or makes the store below `root`.
    pub(crate) fn open(root: PathBuf) -> Result<Self, RuntimeError> {
        let opened = || -> io::Result<Self> {
            DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
            let layers = root.join("layers");
            fs::create_dir_all(&layers)?;
            remove_tree(&root.join("tmp"))?;
            let index = Index::load(&root.join("images.json"))?;
            let blobs = Blobs::open(&root)?;
            Ok(Self {
                layers,
                blobs,
                index: RwLock::new(Arc::new(index)),
                turns: Arc::new(Semaphore::new(TURNS)),
                loads: Arc::new(Semaphore::new(LOADS)),
                begun: AtomicU64::new(0),
                committing: Mutex::new(()),
                root: root.clone(),
            })
        };
        opened().map_err(|error| disk(&format!("cannot open the images in {}", root.display()), &error))
    }

    /// Where the directories of [`StoredImage::layers`] are.
    pub(crate) fn layers_dir(&self) -> &Path {
        &self.layers
    }

    /// Every image, by ID.
    pub(crate) fn list(&self) -> Vec<Arc<StoredImage>> {
        self.index().images().cloned().collect()
    }

    /// See [`Index::find`].
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<StoredImage>, RuntimeError> {
        self.index().find(reference)
    }

    /// The configuration of an image, as it was loaded. Blocks.
    pub(crate) fn config(&self, reference: &str) -> Result<Vec<u8>, RuntimeError> {
        let id = Sha::parse(&self.find(reference)?.id)?;
        fs::read(self.blobs.path(&id)).map_err(|error| disk("cannot read the image's configuration", &error))
    }

    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads every image of an archive, or none. Cancelled when its caller is gone.
    pub(crate) async fn load(self: Arc<Self>, archive: ArchiveReader<'_>) -> Result<Vec<LoadedImage>, RuntimeError> {
        // It is never closed.
        let permit = Arc::clone(&self.loads).acquire_owned().await.ok();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let unwanted = CancellationToken::new();
        let _unwanted_with_this = unwanted.clone().drop_guard();
        let loading = spawn_blocking(move || {
            let _permit = permit;
            let work = Rc::new(Work::begin(Arc::clone(&self.turns), unwanted));
            self.take_in(ChannelReader::new(receiver, Rc::clone(&work)), work)
        });
        feed(archive, sender).await;
        loading.await.unwrap_or_else(|error| Err(disk("the load was cut off", &error)))
    }

    /// The part of [`Self::load`] that blocks.
    fn take_in(&self, archive: impl Read, work: Rc<Work>) -> Result<Vec<LoadedImage>, RuntimeError> {
        let mut budget = Budget::of_disk(&self.root, work)?;
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let spool = Spool(self.root.join("tmp").join(number.to_string()));
        fs::create_dir_all(&spool.0).map_err(|error| disk("cannot write the image to disk", &error))?;

        let contents = Contents::spool(archive, &spool.0, &mut budget)?;
        let found = images(&contents, &mut budget)?;
        let (mut prepared, mut sizes) = (Vec::new(), BTreeMap::new());
        for image in found {
            prepared.push(self.unpack(image, &spool.0, &mut sizes, &mut budget)?);
        }
        budget.step()?;
        self.commit(&spool.0, prepared).map_err(|error| disk("cannot keep the image", &error))
    }

    /// Unpacks the layers this node has not unpacked yet, each digest checked. `sizes` are those of the layers this load
    /// has come by: of many images with the same layers each layer is looked through once.
    fn unpack(
        &self,
        image: Found,
        spool: &Path,
        sizes: &mut BTreeMap<String, u64>,
        budget: &mut Budget,
    ) -> Result<Prepared, RuntimeError> {
        let (mut size, mut layers) = (0, Vec::new());
        for (file, diff_id) in &image.layers {
            budget.step()?;
            let name = directory_name(diff_id);
            let (ready, fresh) = (self.layers.join(&name), spool.join(format!("layer-{name}")));
            let layer_size = match sizes.get(&name) {
                Some(known) => *known,
                None if ready.exists() => tree_size(&ready).map_err(|error| disk("cannot look at a layer", &error))?,
                None => layer::unpack(file, diff_id, &fresh, budget)?,
            };
            size += layer_size;
            sizes.insert(name.clone(), layer_size);
            layers.push(name);
        }
        let created = image.config.created().map(|time| time.0);
        let (architecture, os) = (image.config.architecture.clone(), image.config.os.clone());
        let (defaults, labels) = ImageConfig::defaults(image.config.config);
        let stored = StoredImage {
            id: image.id.to_string(),
            digest: image.manifest.digest().to_string(),
            tags: image.tags.into_iter().collect(),
            created,
            size,
            architecture,
            os,
            labels,
            layers,
            defaults,
        };
        let mut blobs = vec![(image.config_file.path, image.id)];
        blobs.extend(image.layers.into_iter().map(|(file, _)| (file.path, file.digest)));
        match image.manifest {
            Manifest::File(file) => blobs.push((file.path, file.digest)),
            Manifest::Made(bytes) => {
                let (digest, path) = (Sha::of(&bytes), spool.join(format!("manifest-{}", blobs[0].1.hex())));
                fs::write(&path, bytes).map_err(|error| disk("cannot write the image to disk", &error))?;
                blobs.push((path, digest));
            }
        }
        Ok(Prepared { stored, blobs })
    }

    /// Syncs all that was made at once, moves it into place, and last of all names it in the index.
    fn commit(&self, spool: &Path, prepared: Vec<Prepared>) -> io::Result<Vec<LoadedImage>> {
        syncfs(File::open(spool)?)?;
        let _alone = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        for image in &prepared {
            for (file, digest) in image.blobs.iter().filter(|(file, _)| file.exists()) {
                self.blobs.adopt(file, digest)?;
            }
            for name in &image.stored.layers {
                let (fresh, ready) = (spool.join(format!("layer-{name}")), self.layers.join(name));
                // Another load may have brought the same layer meanwhile; containers may use it already.
                if fresh.exists() && !ready.exists() {
                    fs::rename(fresh, ready)?;
                }
            }
        }
        self.blobs.sync()?;
        File::open(&self.layers)?.sync_all()?;

        let mut index = Index::clone(&self.index());
        let loaded = prepared.into_iter().map(|image| index.insert(image.stored)).collect();
        index.save(&self.root.join("images.json"))?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
        Ok(loaded)
    }
}

/// An image ready to be kept: its files are below the spool and verified.
struct Prepared {
    stored: StoredImage,
    blobs: Vec<(PathBuf, Sha)>,
}

/// A layer's directory: the first 130 bits of its digest in base 32. Short, because all the layers of a container must
/// fit into one page of mount options, and long enough that nobody finds two layers of one name.
fn directory_name(diff_id: &Sha) -> String {
    const DIGITS: usize = 26;
    let bytes = hex::decode(diff_id.hex()).unwrap_or_default();
    let mut name = BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
    name.truncate(DIGITS);
    name
}

/// Bytes of the files below a directory.
fn tree_size(dir: &Path) -> io::Result<u64> {
    let mut size = 0;
    visit(dir, |stat| {
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            size += u64::try_from(stat.st_size).unwrap_or(0);
        }
    })?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_keeps_the_name_it_was_unpacked_under() {
        assert_eq!(directory_name(&Sha::of(b"")), "4oymiquy7qobjgx36tejs35zeq");
    }

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[tokio::test]
    async fn an_archive_that_has_come_in_whole_becomes_no_image_when_nobody_waits_for_it() {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(ImageStore::open(root.path().join("images")).unwrap());
        let layer = tar(&[("file", b"x")]);
        let rootfs = format!(r#"{{"type":"layers","diff_ids":["{}"]}}"#, Sha::of(&layer));
        let config = format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{rootfs}}}"#);
        let manifest = br#"[{"Config":"config","RepoTags":["late:1"],"Layers":["layer"]}]"#;
        let archive = tar(&[("config", config.as_bytes()), ("layer", &layer), ("manifest.json", manifest)]);

        // All are at work: it waits for its turn.
        let turns = Arc::clone(&store.turns).acquire_many_owned(TURNS.try_into().unwrap()).await.unwrap();
        let mut load = Box::pin(Arc::clone(&store).load(Box::pin(archive.as_slice())));
        assert!(futures::poll!(&mut load).is_pending());
        drop(load);
        drop(turns);
        // It has its permit for as long as it is under way.
        drop(store.loads.acquire_many(LOADS.try_into().unwrap()).await.unwrap());
        assert!(store.list().is_empty());

        assert_eq!(store.load(Box::pin(archive.as_slice())).await.unwrap().len(), 1);
    }
}
