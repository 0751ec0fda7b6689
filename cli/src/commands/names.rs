//! Names of ids, asked for once each.

use std::collections::HashMap;

use anyhow::Result;
use skep_dockerapi::types::Task;

use crate::{
    args::Filter,
    client::{Client, ClientError},
};

/// `self`: the node that is asked.
const SELF: &str = "self";

/// Names of services and nodes. The id of a removed object stands for its name.
pub(super) struct Names<'a> {
    client: &'a Client,
    /// Whether ids are to be shown instead.
    ids: bool,
    known: HashMap<String, String>,
}

impl<'a> Names<'a> {
    pub(super) fn new(client: &'a Client, ids: bool) -> Self {
        Self { client, ids, known: HashMap::new() }
    }

    pub(super) async fn service(&mut self, id: &str) -> Result<String, ClientError> {
        if let Some(name) = self.at_hand(id) {
            return Ok(name);
        }
        let name = self.client.service(id).await.map(|service| service.spec.name);
        self.learn(id, name)
    }

    pub(super) async fn node(&mut self, id: &str) -> Result<String, ClientError> {
        if let Some(name) = self.at_hand(id) {
            return Ok(name);
        }
        let name = self.client.node(id).await.map(|node| match node.spec.name {
            name if name.is_empty() => node.description.hostname,
            name => name,
        });
        self.learn(id, name)
    }

    /// `service.slot`; `service.node` for the one task of a node.
    pub(super) async fn task(&mut self, task: &Task) -> Result<String, ClientError> {
        let service = self.service(&task.service_id).await?;
        Ok(match task.slot {
            0 => format!("{service}.{}", task.node_id),
            slot => format!("{service}.{slot}"),
        })
    }

    fn at_hand(&self, id: &str) -> Option<String> {
        if self.ids || id.is_empty() { Some(id.to_owned()) } else { self.known.get(id).cloned() }
    }

    fn learn(&mut self, id: &str, name: Result<String, ClientError>) -> Result<String, ClientError> {
        let name = match name {
            Ok(name) if !name.is_empty() => name,
            Ok(_) => id.to_owned(),
            Err(error) if error.is_not_found() => id.to_owned(),
            Err(error) => return Err(error),
        };
        self.known.insert(id.to_owned(), name.clone());
        Ok(name)
    }
}

/// What a user calls a node, as a key the API knows: `self` is the node asked.
pub(super) async fn node_key(client: &Client, typed: &str) -> Result<String> {
    if typed != SELF {
        return Ok(typed.to_owned());
    }
    match client.info().await?.swarm.node_id {
        // Nothing on a manager can be without an id: let the daemon say what is wrong here.
        id if id.is_empty() => Ok(client.node(SELF).await?.id),
        id => Ok(id),
    }
}

/// Filters in which `node=self` is the node asked.
pub(super) async fn resolve_self(client: &Client, filters: &mut [Filter]) -> Result<()> {
    for filter in filters.iter_mut().filter(|filter| filter.name == "node" && filter.value == SELF) {
        filter.value = node_key(client, SELF).await?;
    }
    Ok(())
}
