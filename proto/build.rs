//! Compiles the .proto files without protoc and keeps their descriptors, which the authorization test reads.

use std::{env, error::Error, fs, path::PathBuf};

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

    tonic_prost_build::configure()
        // Ordered maps: equal objects must encode to equal bytes on every replica.
        .btree_map(".")
        // Carried by reference count from the log to the wire.
        .bytes(".skep.v1.RaftEntry.batch")
        .bytes(".skep.v1.SnapshotChunk.data")
        // An action is as large as the largest object otherwise, and a plan may hold a hundred thousand.
        .boxed(".skep.v1.Object.object.node")
        .boxed(".skep.v1.Object.object.service")
        .boxed(".skep.v1.Object.object.task")
        .boxed(".skep.v1.Object.object.cluster")
        // These two hold secrets; lib.rs gives them a Debug that keeps quiet.
        .skip_debug(["skep.v1.RootCa", "skep.v1.JoinTokens", "skep.v1.IssueCertificateRequest"])
        .compile_fds(descriptors)?;
    Ok(())
}
