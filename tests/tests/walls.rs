//! The walls of the house: which crate may know which. docs/ARCHITECTURE.md draws them, this holds them.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A crate of ours and the crates of ours it may depend on.
const WALLS: &[(&str, &[&str])] = &[
    ("skep-proto", &[]),
    ("skep-common", &["skep-proto"]),
    ("skep-dockerapi", &["skep-proto", "skep-common"]),
    ("skep-store", &["skep-proto", "skep-common"]),
    ("skep-core", &["skep-proto", "skep-common", "skep-store"]),
    ("skep-raft", &["skep-proto", "skep-common", "skep-store"]),
    ("skep-ca", &["skep-proto", "skep-common"]),
    ("skep-manager", &["skep-proto", "skep-common", "skep-store", "skep-core", "skep-raft", "skep-ca"]),
    ("skep-shim", &[]),
    ("skep-runtime", &["skep-proto", "skep-common", "skep-shim"]),
    ("skep-worker", &["skep-proto", "skep-common", "skep-runtime"]),
    (
        "skep-node",
        &[
            "skep-proto",
            "skep-common",
            "skep-dockerapi",
            "skep-core",
            "skep-ca",
            "skep-manager",
            "skep-worker",
            "skep-runtime",
        ],
    ),
    ("skep", &["skep-proto", "skep-common", "skep-dockerapi", "skep-node", "skep-shim"]),
    ("skep-sim", &["skep-proto", "skep-common", "skep-store", "skep-core", "skep-worker"]),
    ("skep-scale", &["skep-proto", "skep-common", "skep-ca", "skep-manager", "skep-worker", "skep-runtime"]),
    ("skep-tests", &[]),
];

/// Crates whose decisions are functions of their arguments, and what they must therefore not name.
const PURE: &[&str] = &["skep-store", "skep-core"];
const IMPURE: &[&str] = &["tokio", "tokio-util", "tokio-stream", "rand", "getrandom", "uuid", "tracing", "tonic"];

fn packages() -> Result<Vec<Value>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    Ok(metadata["packages"].as_array().context("no packages")?.clone())
}

/// Names a crate depends on when it is built, not when it is tested.
fn dependencies(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().into_iter().flatten();
    let built = all.filter(|dependency| dependency["kind"] != "dev");
    built.filter_map(|dependency| dependency["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn no_crate_knows_more_than_its_walls_allow() -> Result<()> {
    for package in packages()? {
        let name = package["name"].as_str().context("a package without a name")?;
        let (_, allowed) =
            WALLS.iter().find(|(known, _)| *known == name).with_context(|| format!("{name} has no line in WALLS"))?;
        for dependency in dependencies(&package).iter().filter(|name| name.starts_with("skep")) {
            ensure!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
    Ok(())
}

#[test]
fn pure_crates_name_no_runtime_and_no_source_of_chance() -> Result<()> {
    let packages = packages()?;
    for pure in PURE {
        let package = packages.iter().find(|package| package["name"] == *pure).context("a pure crate is gone")?;
        let impure: Vec<String> =
            dependencies(package).into_iter().filter(|name| IMPURE.contains(&name.as_str())).collect();
        ensure!(impure.is_empty(), "{pure} depends on {impure:?}");
        let common = package["dependencies"].as_array().into_iter().flatten().find(|it| it["name"] == "skep-common");
        ensure!(
            common.is_none_or(|it| it["features"] == Value::Array(Vec::new())),
            "{pure} takes skep-common's sockets"
        );
    }
    Ok(())
}

/// Files grow until somebody asks why.
#[test]
fn no_source_file_is_over_a_thousand_lines() -> Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "*.rs"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()?;
    let listed = String::from_utf8(listed.stdout)?;
    ensure!(listed.lines().count() > 100, "the source files were not found");
    for file in listed.lines() {
        let path = format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"));
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        ensure!(text.lines().count() <= 1000, "{file} has {} lines", text.lines().count());
        let head: Vec<&str> = text.lines().take(20).collect();
        ensure!(head.iter().any(|line| line.starts_with("//!")), "{file} does not say what it is for");
    }
    Ok(())
}
