//! Compiles the .proto files without protoc and keeps their descriptors, which the authorization test reads.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use prost::Message as _;

const FILES: &[&str] = &[
    "skep/v1/spec.proto",
    "skep/v1/objects.proto",
    "skep/v1/ca.proto",
    "skep/v1/raft.proto",
    "skep/v1/dispatcher.proto",
    "skep/v1/control.proto",
    "skep/v1/journal.proto",
    "skep/v1/peer.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("skep.bin"), descriptors.encode_to_vec())?;

    let mut build = tonic_prost_build::configure()
        // Ordered maps: equal objects must encode to equal bytes on every replica.
        .btree_map(".")
        // Carried by reference count from the log to the wire.
        .bytes(".skep.v1.RaftEntry.batch")
        .bytes(".skep.v1.RaftEntry.packed")
        .bytes(".skep.v1.SnapshotChunk.data")
        // What a task has of its service never changes and is the same for all of them.
        .boxed(".skep.v1.ServiceSpec.annotations")
        .boxed(".skep.v1.ServiceSpec.task")
        .boxed(".skep.v1.ServiceSpec.endpoint")
        .boxed(".skep.v1.Task.service")
        .boxed(".skep.v1.Task.spec")
        .boxed(".skep.v1.Endpoint.spec")
        // Most tasks have none, and it would take a fifth of what a task takes.
        .boxed(".skep.v1.Task.restart")
        .boxed(".skep.v1.TaskChange.restart")
        // These two hold secrets; lib.rs gives them a Debug that keeps quiet.
        .skip_debug(["skep.v1.RootCa", "skep.v1.JoinTokens", "skep.v1.IssueCertificateRequest"]);
    // Held by reference count in the state, in transactions and in what is sent of them: see `share`.
    let messages = descriptors.file.iter().flat_map(|file| &file.message_type);
    for kind in messages.filter(|message| message.name() == "Object").flat_map(|object| &object.field) {
        build = build.boxed(format!(".skep.v1.Object.object.{}", kind.name()));
    }
    build.compile_fds(descriptors)?;
    share(&out.join("skep.v1.rs"))
}

/// Boxed fields become shared ones: prost knows no other pointer than `Box`.
fn share(generated: &Path) -> Result<(), Box<dyn Error>> {
    let code = fs::read_to_string(generated)?;
    fs::write(generated, code.replace("::prost::alloc::boxed::Box<", "crate::Shared<"))?;
    Ok(())
}
