//! The container of a task.

use skep_common::{
    template::Context,
    validate::{self, ImageRef},
};
use skep_proto::v1::ContainerSpec;

use super::{InvalidSpec, not_negative};

pub(super) fn container(spec: &ContainerSpec, own_network: bool) -> Result<(), InvalidSpec> {
    if spec.image.is_empty() {
        return Err(InvalidSpec::NoImage);
    }
    if ImageRef::parse(&spec.image).is_err() {
        return Err(InvalidSpec::Image(spec.image.escape_debug().to_string()));
    }
    for (key, value) in &spec.labels {
        validate::check_label(key, value)?;
    }
    for entry in &spec.env {
        validate::check_env(entry)?;
    }
    let texts: [(&'static str, &[String]); 7] = [
        ("command", &spec.command),
        ("args", &spec.args),
        ("hostname", std::slice::from_ref(&spec.hostname)),
        ("dir", std::slice::from_ref(&spec.dir)),
        ("user", std::slice::from_ref(&spec.user)),
        ("stop-signal", std::slice::from_ref(&spec.stop_signal)),
        ("hosts", &spec.hosts),
    ];
    if let Some((field, _)) = texts.iter().find(|(_, texts)| texts.iter().any(|text| text.contains('\0'))) {
        return Err(InvalidSpec::Nul(field));
    }
    not_negative(spec.stop_grace_period.unwrap_or(0), "ContainerSpec: stop-grace-period")?;
    what_a_node_would_refuse(spec, own_network)
}

/// What stands in a spec for something only a node does, and would make every task fail there.
fn what_a_node_would_refuse(spec: &ContainerSpec, own_network: bool) -> Result<(), InvalidSpec> {
    // Stands for every task: labels of the service are what a template may ask for and need not find.
    let context = Context::default();
    for variable in &spec.env {
        let expanded = context.expand_variable(variable);
        expanded.map_err(|error| InvalidSpec::EnvTemplate(variable.clone(), error))?;
    }
    context.expand(&spec.hostname).map_err(InvalidSpec::HostnameTemplate)?;
    if !spec.dir.is_empty() && !spec.dir.starts_with('/') {
        return Err(InvalidSpec::Dir(spec.dir.escape_debug().to_string()));
    }
    if !spec.stop_signal.is_empty() {
        validate::parse_signal(&spec.stop_signal)?;
    }
    for capability in spec.capability_add.iter().chain(&spec.capability_drop) {
        validate::parse_capability(capability)?;
    }
    for (name, value) in &spec.sysctls {
        validate::check_sysctl(name, value, own_network)?;
    }
    spec.ulimits.iter().try_for_each(|limit| Ok(validate::check_ulimit(&limit.name, limit.soft, limit.hard)?))
}
