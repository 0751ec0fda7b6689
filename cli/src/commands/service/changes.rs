//! Changes to the lists of a service's spec. Removals come first, so that adding what is removed keeps it; an
//! addition takes the place of what has the same key.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use skep_dockerapi::types::{
    ContainerSpec, DiscreteGenericResource, GenericResource, NetworkAttachmentConfig, Placement, PlacementPreference,
    ResourceRequirements, ServiceSpec, SpreadOver, Ulimit,
};

use super::environment;
use crate::args::{GenericCount, KeyValue, SpecChanges, Spread};

/// Stands for every capability.
const ALL: &str = "ALL";

/// Makes the changes.
///
/// # Errors
/// When one makes no sense.
pub(super) fn apply(changes: &SpecChanges, spec: &mut ServiceSpec) -> Result<()> {
    change_map(&mut spec.labels, &changes.label_rm, &changes.label_add);
    let task = &mut spec.task_template;
    placement(changes, &mut task.placement);
    generic_resources(changes, &mut task.resources)?;
    task.networks.retain(|network| !changes.network_rm.contains(&network.target));
    for target in &changes.network_add {
        let network = NetworkAttachmentConfig { target: target.clone() };
        if !task.networks.contains(&network) {
            task.networks.push(network);
        }
    }
    container(changes, task.container_spec.get_or_insert_with(ContainerSpec::default))
}

fn container(changes: &SpecChanges, container: &mut ContainerSpec) -> Result<()> {
    change_map(&mut container.labels, &changes.container_label_rm, &changes.container_label_add);
    change_map(&mut container.sysctls, &changes.sysctl_rm, &changes.sysctl_add);
    container.env.retain(|variable| !changes.env_rm.iter().any(|name| name == environment::name_of(variable)));
    for variable in &changes.env_add {
        environment::set(&mut container.env, variable)?;
    }
    change_list(&mut container.groups, &changes.group_rm, changes.group_add.iter().cloned());
    let hosts_rm = changes.host_rm.iter().map(|host| hosts_line(host)).collect::<Result<Vec<_>>>()?;
    let hosts_add = changes.host_add.iter().map(|host| hosts_line(host)).collect::<Result<Vec<_>>>()?;
    change_list(&mut container.hosts, &hosts_rm, hosts_add.into_iter());
    container.ulimits.retain(|limit| !changes.ulimit_rm.contains(&limit.name));
    for limit in &changes.ulimit_add {
        container.ulimits.retain(|known| known.name != limit.name);
        container.ulimits.push(Ulimit { name: limit.name.clone(), hard: limit.hard, soft: limit.soft });
    }
    capabilities(changes, container);
    Ok(())
}

fn placement(changes: &SpecChanges, placement: &mut Option<Placement>) {
    let touched = [&changes.constraint_add, &changes.constraint_rm].iter().any(|list| !list.is_empty())
        || [&changes.placement_pref_add, &changes.placement_pref_rm].iter().any(|list| !list.is_empty());
    if !touched {
        return;
    }
    let placement = placement.get_or_insert_with(Placement::default);
    change_list(&mut placement.constraints, &changes.constraint_rm, changes.constraint_add.iter().cloned());
    let preference =
        |Spread(over): &Spread| PlacementPreference { spread: Some(SpreadOver { spread_descriptor: over.clone() }) };
    let removed: Vec<PlacementPreference> = changes.placement_pref_rm.iter().map(preference).collect();
    change_list(&mut placement.preferences, &removed, changes.placement_pref_add.iter().map(preference));
}

/// A kind is reserved once: what is added takes the place of what was.
fn generic_resources(changes: &SpecChanges, requirements: &mut Option<ResourceRequirements>) -> Result<()> {
    if changes.generic_resource_add.is_empty() && changes.generic_resource_rm.is_empty() {
        return Ok(());
    }
    let requirements = requirements.get_or_insert_default();
    let held = &mut requirements.reservations.get_or_insert_default().generic_resources;
    let is = |resource: &GenericResource, kind: &str| {
        resource.discrete_resource_spec.as_ref().is_some_and(|discrete| discrete.kind == kind)
    };
    for kind in &changes.generic_resource_rm {
        let known = held.len();
        held.retain(|resource| !is(resource, kind));
        if held.len() == known {
            bail!("could not find generic-resource `{kind}` to remove it");
        }
    }
    for GenericCount { kind, count } in &changes.generic_resource_add {
        held.retain(|resource| !is(resource, kind));
        let discrete = DiscreteGenericResource { kind: kind.clone(), value: *count };
        held.push(GenericResource { discrete_resource_spec: Some(discrete), named_resource_spec: None });
    }
    Ok(())
}

/// What is added and what is dropped undo each other: a capability that is in neither list is as the default has it.
fn capabilities(changes: &SpecChanges, container: &mut ContainerSpec) {
    let added: Vec<String> = changes.cap_add.iter().map(|name| capability(name)).collect();
    let dropped = changes.cap_drop.iter().map(|name| capability(name)).filter(|name| !added.contains(name));
    for name in dropped {
        exchange(name, &mut container.capability_add, &mut container.capability_drop);
    }
    for name in added {
        exchange(name, &mut container.capability_drop, &mut container.capability_add);
    }
}

/// Takes a name out of one list, or puts it into the other when it is in neither.
fn exchange(name: String, from: &mut Vec<String>, into: &mut Vec<String>) {
    let held = from.len();
    from.retain(|known| *known != name);
    if from.len() == held && !into.contains(&name) {
        into.push(name);
        into.sort_unstable();
    }
}

/// `net_admin` → `CAP_NET_ADMIN`.
fn capability(name: &str) -> String {
    let name = name.trim().to_uppercase();
    if name == ALL || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
}

/// `name:ip` as a line of /etc/hosts.
fn hosts_line(host: &str) -> Result<String> {
    let (name, ip) = host.split_once(':').with_context(|| format!("bad format for add-host: {host:?}"))?;
    let ip: std::net::IpAddr =
        ip.trim_matches(['[', ']']).parse().with_context(|| format!("invalid IP address in add-host: {ip:?}"))?;
    Ok(format!("{ip} {name}"))
}

fn change_map(map: &mut BTreeMap<String, String>, remove: &[String], add: &[KeyValue]) {
    for key in remove {
        map.remove(key);
    }
    map.extend(add.iter().map(|pair| (pair.key.clone(), pair.value.clone())));
}

fn change_list<T: PartialEq>(list: &mut Vec<T>, remove: &[T], add: impl Iterator<Item = T>) {
    list.retain(|item| !remove.contains(item));
    for item in add {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}
