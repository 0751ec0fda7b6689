//! Archives: every form that is taken, and everything that is not.

mod support;

use std::{fs, path::Path, time::Duration};

use serde_json::json;
use skep_runtime::{Runtime as _, RuntimeError};
use support::{
    World,
    archive::{Image, Tar, busybox_layer, gzip, sha, zstd},
    files, shell,
};
use tar::EntryType;
use tokio::io::AsyncWriteExt as _;

#[tokio::test]
async fn every_form_of_archive_gives_the_same_image() {
    let world = World::new().await;
    let image = Image::of(vec![busybox_layer(), Tar::default().file("hello", b"hi").finish()]);
    let forms = [
        image.docker_save(&["form:1"]).finish(),
        gzip(&image.docker_save(&["form:1"]).finish()),
        zstd(&image.docker_save(&["form:1"]).finish()),
        image.oci(Some("docker.io/library/form:1"), <[u8]>::to_vec).finish(),
        image.oci(Some("docker.io/library/form:1"), gzip).finish(),
        image.oci(Some("docker.io/library/form:1"), zstd).finish(),
    ];
    for (n, form) in forms.into_iter().enumerate() {
        let loaded = world.load(form).await;
        assert_eq!((loaded.len(), loaded[0].id.as_str()), (1, image.id().as_str()), "form {n}");
        assert_eq!(loaded[0].tags, ["form:1"]);
        let mut container = shell(&format!("form{n}"), "cat /hello");
        container.container.image = "form:1".into();
        assert_eq!(world.output(&container).await.0, "hi");
    }
    let known = world.containers.image("form:1").await.unwrap();
    assert_eq!(world.containers.image(&image.id()).await.unwrap(), known);
    assert_eq!(known.created.unwrap().as_secs(), 1_767_323_045);
    assert_eq!(world.containers.images().await.unwrap().len(), 2, "the image and the one every test has");
}

#[tokio::test]
async fn the_demo_archive_that_is_both_forms_is_one_image() {
    let world = World::new().await;
    let image = Image::of(vec![busybox_layer()]);
    let config = image.config_bytes();
    let (config_blob, layer_blob) = (sha(&config), sha(&image.layers[0]));
    let saved = json!([{
        "Config": format!("blobs/sha256/{config_blob}"),
        "RepoTags": ["both:1", "both:2"],
        "Layers": [format!("blobs/sha256/{layer_blob}")],
    }]);
    let archive = image.oci(Some("both:1"), <[u8]>::to_vec).file("manifest.json", saved.to_string().as_bytes());
    let loaded = world.load(archive.finish()).await;
    assert_eq!((loaded.len(), &loaded[0].tags[..]), (1, &["both:1".to_owned(), "both:2".to_owned()][..]));
}

#[tokio::test]
async fn an_image_survives_the_daemon_and_its_name_moves() {
    let world = World::new().await;
    let newer = Image::of(vec![busybox_layer(), Tar::default().file("new", b"").finish()]);
    world.load(newer.docker_save(&[support::IMAGE]).finish()).await;
    let world = world.restart().await;
    assert_eq!(world.containers.image(support::IMAGE).await.unwrap().id, newer.id());
    let missing = world.containers.image("nothing:1").await.unwrap_err();
    assert_eq!(missing, RuntimeError::NoSuchImage("nothing:1".into()));
    assert_eq!(missing.to_string(), "No such image: nothing:1");
}

#[tokio::test]
async fn layers_stack_hide_and_link() {
    let world = World::new().await;
    let middle = Tar::default()
        .dir("data", 0o700)
        .file("data/kept", b"kept")
        .file("data/hidden", b"hidden")
        .dir("opaque", 0o755)
        .file("opaque/old", b"old")
        .symlink("absolute", "/etc/passwd")
        .file_with_mode("bin/tool", b"#!/bin/sh\necho tool\n", 0o4755)
        .link("data/link", "data/kept")
        .finish();
    let top = Tar::default()
        .file("data/.wh.hidden", b"")
        .dir("opaque", 0o755)
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"new")
        .finish();
    let image = Image::of(vec![busybox_layer(), middle, top]);
    world.load(image.docker_save(&["stack:1"]).finish()).await;
    let script =
        "cat /data/kept /data/link; ls /data /opaque; stat -c %a /bin/tool; stat -c %h /data/kept; head -c4 /absolute";
    let mut container = shell("stack", script);
    container.container.image = "stack:1".into();
    let (text, exit) = world.output(&container).await;
    assert_eq!((text.as_str(), exit.code), ("keptkept/data:\nkept\nlink\n\n/opaque:\nnew\n4755\n2\nroot", 0));
}

#[tokio::test]
async fn as_many_layers_as_docker_allows_can_be_stacked() {
    let world = World::new().await;
    let mut layers = vec![busybox_layer()];
    layers.extend(
        (1..127).map(|n| Tar::default().file(&format!("n/{n}"), b"").file("last", n.to_string().as_bytes()).finish()),
    );
    world.load(Image::of(layers).docker_save(&["deep:1"]).finish()).await;
    let mut container = shell("deep", "ls /n | wc -l; cat /last");
    container.container.image = "deep:1".into();
    container.container.user = "web".into();
    assert_eq!(world.output(&container).await.0, "126\n126");
}

#[tokio::test]
async fn bad_archives_are_refused_in_one_sentence_and_change_nothing() {
    let world = World::new().await;
    let good = || Image::of(vec![busybox_layer()]);
    let of_layer = |layer: Tar| Image::of(vec![layer.finish()]).docker_save(&["bad:1"]).finish();
    let mut wrong_diff = good();
    wrong_diff.config["rootfs"]["diff_ids"][0] = json!(format!("sha256:{}", "0".repeat(64)));
    let mut too_few = good();
    too_few.config["rootfs"]["diff_ids"] = json!([]);
    let mut wrong_blob = good().oci(None, <[u8]>::to_vec).finish();
    let at = wrong_blob.windows(4).position(|bytes| bytes == b"\x7fELF").unwrap();
    wrong_blob[at + 100] ^= 1;
    let mut cut = good().docker_save(&["bad:1"]).finish();
    cut.truncate(cut.len() / 2);
    let too_many = Image::of(vec![Tar::default().finish(); 128]);
    let trailed = Image::of(vec![[Tar::default().finish(), vec![0; 2 << 20]].concat()]);
    let again_and_again = {
        let config = good().config_bytes();
        let image = json!({ "Config": "config", "Layers": ["layer"] });
        let list = serde_json::to_vec(&vec![image; 20_000]).unwrap();
        Tar::default().file("config", &config).file("layer", &busybox_layer()).file("manifest.json", &list).finish()
    };
    let long = "d/".repeat(300);

    let table: Vec<(&str, Vec<u8>)> = vec![
        ("it is not a tar archive, or a damaged one", b"not an archive at all".repeat(100)),
        ("neither an index.json nor a manifest.json", Vec::new()),
        ("neither an index.json nor a manifest.json", Tar::default().file("a", b"").finish()),
        ("leads out of the archive", Tar::default().raw("../evil", EntryType::Regular, "", b"", 0).finish()),
        ("leads out of the archive", Tar::default().raw("/etc/evil", EntryType::Regular, "", b"", 0).finish()),
        ("leads out of the archive", Tar::default().raw("a/b", EntryType::Symlink, "../../x", b"", 0).finish()),
        ("two files named", good().docker_save(&[]).file("manifest.json", b"[]").finish()),
        ("more than the disk has room for", Tar::default().raw("huge", EntryType::Regular, "", b"", 1 << 50).finish()),
        (
            "more than the disk has room for",
            Tar::default().raw("huge", EntryType::Continuous, "", b"", 1 << 50).finish(),
        ),
        (
            "more than the disk has room for",
            of_layer(Tar::default().raw("huge", EntryType::Continuous, "", b"", 1 << 50)),
        ),
        ("more than the disk has room for", of_layer(Tar::default().sparse("hole", 1 << 50))),
        ("leads out of its layer", of_layer(Tar::default().raw("../evil", EntryType::Regular, "", b"", 0))),
        ("leads out of its layer", of_layer(Tar::default().raw("/evil", EntryType::Regular, "", b"", 0))),
        ("leads out of its layer", of_layer(Tar::default().raw("a", EntryType::Link, "../../etc/passwd", b"", 0))),
        ("which is not there", of_layer(Tar::default().raw("a", EntryType::Link, "b", b"", 0))),
        ("has more than 255 parts", of_layer(Tar::default().dir(&long, 0o755))),
        ("is a link of more than 255 parts", of_layer(Tar::default().symlink("a", &long))),
        ("cannot unpack \"a\"", of_layer(Tar::default().dir("b", 0o755).link("a", "b"))),
        ("cannot unpack \"a/b\"", of_layer(Tar::default().symlink("a", "nowhere").file("a/b", b""))),
        ("cannot unpack \"a/b\"", of_layer(Tar::default().symlink("a", "a").file("a/b", b""))),
        (
            "or a damaged one",
            of_layer(Tar::default().raw("a", EntryType::Directory, "", &vec![0; 2 << 20], 2 << 20).file("b", b"")),
        ),
        ("or a damaged one", trailed.docker_save(&[]).finish()),
        ("manifests and configurations come to more than", again_and_again),
        ("has the digest", wrong_diff.docker_save(&[]).finish()),
        ("has 1 layers and describes 0", too_few.docker_save(&[]).finish()),
        ("has the digest", wrong_blob),
        ("or a damaged one", cut),
        ("1 to 127 can be stacked", too_many.docker_save(&[]).finish()),
        ("makes no sense", Tar::default().file("manifest.json", b"{").finish()),
        ("makes no sense", Tar::default().file("manifest.json", format!("{:?}", "x".repeat(1000)).as_bytes()).finish()),
        ("is missing", Tar::default().file("manifest.json", br#"[{"Config":"x","Layers":[]}]"#).finish()),
        ("holds no image", Tar::default().file("manifest.json", b"[]").finish()),
        ("is no image name", good().docker_save(&["No Name"]).finish()),
    ];
    let images = world.containers.images().await.unwrap();
    let before = files(world.root());
    for (reason, archive) in table {
        let refused = world.containers.load_archive(Box::pin(archive.as_slice())).await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, RuntimeError::InvalidArchive(_)), "{reason}: {text}");
        assert!(text.starts_with("invalid image archive: ") && text.contains(reason), "{reason:?} is not in {text:?}");
        assert!(!text.contains('\n') && text.len() < 400, "{text}");
        assert_eq!(files(world.root()), before, "{reason}");
    }
    assert_eq!(world.containers.images().await.unwrap(), images);
    assert!(!Path::new("/etc/evil").exists() && !Path::new("/evil").exists());
}

#[tokio::test]
async fn a_client_that_stalls_holds_up_nobody_else() {
    let world = World::new().await;
    let archive = |tag: &str| {
        Image::of(vec![busybox_layer(), Tar::default().file("same", b"x").finish()]).docker_save(&[tag]).finish()
    };
    let (stalled, rest) = (archive("stalled:1"), archive("other:1"));
    let (mut client, archive) = tokio::io::duplex(64 * 1024);
    let (head, tail) = stalled.split_at(stalled.len() / 2);
    // Each has sent a little and sends no more; they are many more than can work at once.
    let mut held = Vec::new();
    let mut others: Vec<_> = (0..32)
        .map(|_| {
            let (client, archive) = tokio::io::duplex(64);
            held.push(client);
            world.containers.load_archive(Box::pin(archive))
        })
        .collect();
    for (client, load) in held.iter_mut().zip(&mut others) {
        client.write_all(b"a little").await.unwrap();
        assert!(futures::poll!(load).is_pending());
    }
    let loading = world.containers.load_archive(Box::pin(archive));
    let client = async {
        client.write_all(head).await.unwrap();
        // Half of it is on its way; the same layers come in whole from somebody else.
        world.load(rest).await;
        client.write_all(tail).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let (loaded, ()) = tokio::join!(loading, client);
    assert_eq!(loaded.unwrap()[0].tags, ["stalled:1"]);
    assert_eq!(world.containers.image("other:1").await.unwrap().tags, ["other:1", "stalled:1"]);
    drop((others, held));
    // What the others had begun goes with them.
    let tmp = world.root().join("data/images/tmp");
    while fs::read_dir(&tmp).unwrap().count() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn symlinks_in_a_layer_never_lead_out_of_it() {
    let world = World::new().await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "untouched").unwrap();
    let target = outside.path().to_str().unwrap();
    let layer = Tar::default()
        .symlink("up", "../../../../../../../..")
        .file("up/made-inside", b"x")
        .symlink("direct", &format!("{target}/file"))
        .file("direct", b"overwritten")
        .symlink("etc", "/etc")
        .finish();
    world.load(Image::of(vec![layer]).docker_save(&["links:1"]).finish()).await;
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "untouched");
    assert!(!Path::new("/made-inside").exists());

    // Through a link to a place that is not in the layer nothing can be written.
    let layer = Tar::default().symlink("out", target).file("out/file", b"overwritten").finish();
    let archive = Image::of(vec![layer]).docker_save(&["links:2"]).finish();
    assert!(world.containers.load_archive(Box::pin(archive.as_slice())).await.is_err());
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "untouched");
    assert!(world.containers.image("links:2").await.is_err());
}

#[tokio::test]
async fn no_damage_to_an_archive_does_more_than_refuse_it() {
    let world = World::new().await;
    let layer = Tar::default().dir("d", 0o755).file("d/f", b"text").symlink("d/l", "f").link("h", "d/f").finish();
    let archive = Image::of(vec![layer]).docker_save(&["damaged:1"]).finish();
    for at in (0..archive.len()).step_by(61) {
        let mut damaged = archive.clone();
        damaged[at] ^= 0x55;
        match world.containers.load_archive(Box::pin(damaged.as_slice())).await {
            Ok(_) | Err(RuntimeError::InvalidArchive(_)) => {}
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert_eq!(world.script("fine", "echo fine").await.0, "fine\n");
}

#[tokio::test]
async fn an_image_whose_layers_cannot_be_kept_is_not_named() {
    let world = World::new().await;
    let before = world.containers.images().await.unwrap();
    let layers = world.root().join("data/images/layers");
    let aside = world.root().join("aside");
    fs::rename(&layers, &aside).unwrap();
    fs::write(&layers, "").unwrap();
    let archive = Image::of(vec![Tar::default().file("new", b"x").finish()]).docker_save(&["late:1"]).finish();
    let failed = world.containers.load_archive(Box::pin(archive.as_slice())).await.unwrap_err();
    assert!(matches!(failed, RuntimeError::Storage(_)), "{failed}");
    fs::remove_file(&layers).unwrap();
    fs::rename(&aside, &layers).unwrap();

    assert_eq!(world.containers.images().await.unwrap(), before);
    let world = world.restart().await;
    assert_eq!(world.containers.images().await.unwrap(), before);
    world.load(archive).await;
    assert_eq!(world.containers.image("late:1").await.unwrap().tags, ["late:1"]);
}
