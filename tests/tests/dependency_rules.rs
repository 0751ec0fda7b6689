//! The dependency rules: which crate may depend on which, as the table in docs/ARCHITECTURE.md says.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A crate of the workspace, and those of the workspace that it may depend on.
const DEPENDENCY_RULES: &[(&str, &[&str])] = &[
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
fn no_crate_depends_on_more_than_the_rules_allow() -> Result<()> {
    for package in packages()? {
        let name = package["name"].as_str().context("a package without a name")?;
        let (_, allowed) = DEPENDENCY_RULES
            .iter()
            .find(|(known, _)| *known == name)
            .with_context(|| format!("{name} has no line in DEPENDENCY_RULES"))?;
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

/// The files of a list, relative to the root of the repository, that git knows.
fn files(pattern: &str) -> Result<Vec<String>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let listed = Command::new("git").args(["ls-files", pattern]).current_dir(root).output()?;
    Ok(String::from_utf8(listed.stdout)?.lines().map(str::to_owned).collect())
}

/// The paths a `use` declaration stands for: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        paths.push(format!("{prefix}{}", tree.trim()));
        return;
    };
    let (prefix, inner) = (format!("{prefix}{}", head.trim()), rest.rsplit_once('}').map_or(rest, |(inner, _)| inner));
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[begin..at].trim().is_empty() {
                    expand(&prefix, &inner[begin..at], paths);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// Which modules of `skep-core` each of its modules imports, but for those around it.
fn imports() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut texts = BTreeMap::new();
    for file in files("manager/core/src/*.rs")? {
        let name = file.trim_start_matches("manager/core/src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let text = std::fs::read_to_string(format!("{}/../{file}", env!("CARGO_MANIFEST_DIR")))?;
        if !name.contains("tests") && name != "lib" {
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            texts.insert(name.replace('/', "::"), code);
        }
    }
    let mut imports = BTreeMap::new();
    for (module, text) in &texts {
        let mut paths = Vec::new();
        for declaration in text.split("use crate::").skip(1).filter_map(|rest| rest.split(';').next()) {
            expand("", declaration, &mut paths);
        }
        let found = paths.iter().filter_map(|path| {
            let mut path = path.as_str();
            while !texts.contains_key(path) {
                path = path.rsplit_once("::")?.0;
            }
            Some(path.to_owned()).filter(|path| !format!("{module}::").starts_with(&format!("{path}::")))
        });
        imports.insert(module.clone(), found.collect());
    }
    Ok(imports)
}

/// Modules that import each other can only be understood together.
#[test]
fn no_modules_of_core_import_each_other_in_a_circle() -> Result<()> {
    let mut imports = imports()?;
    ensure!(imports.values().map(BTreeSet::len).sum::<usize>() > 100, "the imports were not found");
    // What imports nothing that is left is in no circle.
    while let Some(module) = imports.iter().find(|(_, of)| of.is_empty()).map(|(module, _)| module.clone()) {
        imports.remove(&module);
        for of in imports.values_mut() {
            of.remove(&module);
        }
    }
    ensure!(imports.is_empty(), "in circles, or behind one: {imports:#?}");
    Ok(())
}

/// Files grow until somebody asks why.
#[test]
fn no_source_file_is_over_a_thousand_lines() -> Result<()> {
    let listed = files("*.rs")?;
    ensure!(listed.len() > 100, "the source files were not found");
    for file in listed {
        let path = format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"));
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        ensure!(text.lines().count() <= 1000, "{file} has {} lines", text.lines().count());
        let head: Vec<&str> = text.lines().take(20).collect();
        ensure!(head.iter().any(|line| line.starts_with("//!")), "{file} does not say what it is for");
    }
    Ok(())
}
