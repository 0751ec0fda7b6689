//! Image archives, well made and ill.

use std::{io::Write as _, process::Command};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// A tar under construction.
pub struct Tar(Builder<Vec<u8>>);

impl Default for Tar {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl Tar {
    fn header(kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.file_with_mode(name, content, 0o644)
    }

    pub fn file_with_mode(mut self, name: &str, content: &[u8], mode: u32) -> Self {
        let mut header = Self::header(EntryType::Regular, mode, content.len() as u64);
        self.0.append_data(&mut header, name, content).unwrap();
        self
    }

    pub fn dir(mut self, name: &str, mode: u32) -> Self {
        self.0.append_data(&mut Self::header(EntryType::Directory, mode, 0), name, &[][..]).unwrap();
        self
    }

    pub fn symlink(mut self, name: &str, target: &str) -> Self {
        self.0.append_link(&mut Self::header(EntryType::Symlink, 0o777, 0), name, target).unwrap();
        self
    }

    pub fn link(mut self, name: &str, target: &str) -> Self {
        self.0.append_link(&mut Self::header(EntryType::Link, 0o644, 0), name, target).unwrap();
        self
    }

    /// An entry whose name is taken as it is, `..` and all, and whose header may claim any size.
    pub fn raw(mut self, name: &str, kind: EntryType, target: &str, content: &[u8], claimed: u64) -> Self {
        let mut header = Self::header(kind, 0o644, claimed);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    /// A sparse file of which the archive holds nothing: a hole from its begin to its end.
    pub fn sparse(mut self, name: &str, size: u64) -> Self {
        let mut header = Self::header(EntryType::GNUSparse, 0o644, 0);
        header.set_path(name).unwrap();
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(size);
        gnu.sparse[0].set_offset(size);
        gnu.sparse[0].set_length(0);
        header.set_cksum();
        self.0.append(&header, &[][..]).unwrap();
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub fn sha(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// The layer every image here starts from: busybox, users, an empty `tmp`.
pub fn busybox_layer() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").expect("these tests need busybox-static");
    let applets = Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
    let mut tar = Tar::default()
        .dir("bin", 0o755)
        .file_with_mode("bin/busybox", &busybox, 0o755)
        .dir("etc", 0o755)
        .file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/home:/bin/sh\n")
        .file("etc/group", b"root:x:0:\nweb:x:1001:\nlog:x:4:web\n")
        .dir("tmp", 0o1777);
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        tar = tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    tar.finish()
}

/// An image: a configuration and layers, each plain.
pub struct Image {
    pub config: Value,
    pub layers: Vec<Vec<u8>>,
}

impl Image {
    pub fn of(layers: Vec<Vec<u8>>) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha(layer))).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": { "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["sh"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        Self { config, layers }
    }

    pub fn config_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.config).unwrap()
    }

    pub fn id(&self) -> String {
        format!("sha256:{}", sha(&self.config_bytes()))
    }

    /// As `docker save` wrote it before it knew of OCI.
    pub fn docker_save(&self, tags: &[&str]) -> Tar {
        let config = self.config_bytes();
        let config_name = format!("{}.json", sha(&config));
        let mut tar = Tar::default();
        let mut names = Vec::new();
        for (n, layer) in self.layers.iter().enumerate() {
            names.push(format!("layer{n}/layer.tar"));
            tar = tar.dir(&format!("layer{n}"), 0o755).file(&names[n], layer);
        }
        let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": names }]);
        tar.file(&config_name, &config).file("manifest.json", &serde_json::to_vec(&manifest).unwrap())
    }

    /// As an OCI layout, layers packed by `pack`, with an annotated name.
    pub fn oci(&self, name: Option<&str>, pack: fn(&[u8]) -> Vec<u8>) -> Tar {
        let mut tar = Tar::default().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        let mut blob = |bytes: &[u8], media: &str| {
            let digest = sha(bytes);
            let old = std::mem::take(&mut tar);
            tar = old.file(&format!("blobs/sha256/{digest}"), bytes);
            json!({ "mediaType": format!("application/vnd.oci.image.{media}"), "digest": format!("sha256:{digest}"), "size": bytes.len() })
        };
        let config = blob(&self.config_bytes(), "config.v1+json");
        let layers: Vec<Value> = self.layers.iter().map(|layer| blob(&pack(layer), "layer.v1.tar")).collect();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let mut descriptor = blob(&serde_json::to_vec(&manifest).unwrap(), "manifest.v1+json");
        if let Some(name) = name {
            descriptor["annotations"] = json!({ "io.containerd.image.name": name });
        }
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        tar.file("index.json", &serde_json::to_vec(&index).unwrap())
    }
}

/// The archive of the image tests run.
pub fn busybox() -> Vec<u8> {
    Image::of(vec![busybox_layer()]).docker_save(&[super::IMAGE]).finish()
}
