//! The naive store: a map, copied before each transaction, without an index. What it says, the real one must say.

use std::collections::BTreeMap;

use skep_proto::v1::{
    ManagerStatus, Meta, Object, ObjectKind, ObjectRef, Service, Transaction, action::Action, object,
};

use crate::{AnyObject, delta};

/// Service, task and node objects by kind and id.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Model {
    objects: BTreeMap<(i32, String), object::Object>,
}

impl Model {
    /// The actions that were refused on their own, if the transaction was taken. A refused one leaves everything as it was.
    pub(super) fn apply(&mut self, index: u64, transaction: &Transaction) -> Option<Vec<usize>> {
        if !transaction.independent {
            return self.apply_whole(index, transaction).then(Vec::new);
        }
        let with = |actions| Transaction { actions, ..transaction.clone() };
        self.apply_whole(index, &with(Vec::new())).then_some(())?;
        let (mut refused, mut raft_ids) = (Vec::new(), 0);
        for (at, action) in transaction.actions.iter().enumerate() {
            let is_id = matches!(action.action, Some(Action::AssignRaftId(_)));
            let alone = Transaction { expect: Vec::new(), ..with(vec![action.clone()]) };
            if is_id && raft_ids > 0 || !self.apply_whole(index, &alone) {
                refused.push(at);
            } else {
                raft_ids += u32::from(is_id);
            }
        }
        Some(refused)
    }

    fn apply_whole(&mut self, index: u64, transaction: &Transaction) -> bool {
        let before = self.clone();
        let taken = self.try_apply(&before, index, transaction).is_some();
        if !taken {
            *self = before;
        }
        taken
    }

    /// Every object, by kind and id.
    pub(super) fn objects(&self) -> Vec<AnyObject> {
        let objects = self.objects.values().cloned();
        objects.filter_map(|object| AnyObject::from_proto(Object { object: Some(object) })).collect()
    }

    fn try_apply(&mut self, before: &Self, index: u64, transaction: &Transaction) -> Option<()> {
        transaction.expect.iter().all(|seen| before.is_at(seen)).then_some(())?;
        let mut raft_ids = 0;
        for action in &transaction.actions {
            match action.action.clone()? {
                Action::Create(new) => {
                    let new = new.object?;
                    let key = key(&new);
                    if key.1.is_empty() || self.objects.contains_key(&key) {
                        return None;
                    }
                    if let object::Object::Revision(new) = &new
                        && key.1 != format!("{}.{}", new.service_id, new.number)
                    {
                        return None;
                    }
                    self.put(new, Meta { version: index, created_at: transaction.now, updated_at: transaction.now })?;
                }
                Action::Update(new) => {
                    let new = new.object?;
                    let key = key(&new);
                    let version = meta(&new).version;
                    if matches!(new, object::Object::Revision(_)) {
                        return None;
                    }
                    before.is_at(&ObjectRef { kind: key.0, id: key.1.clone(), version }).then_some(())?;
                    let created_at = meta(self.objects.get(&key)?).created_at;
                    self.put(new, Meta { version: index, created_at, updated_at: transaction.now })?;
                }
                Action::Remove(seen) => {
                    before.is_at(&seen).then_some(())?;
                    self.objects.remove(&(seen.kind, seen.id))?;
                }
                Action::ChangeTask(change) => {
                    let (kind, now) = (ObjectKind::Task as i32, transaction.now);
                    let read = ObjectRef { kind, id: change.id.clone(), version: change.version };
                    let (old, meta) =
                        self.updated(before, read, Meta { version: index, updated_at: now, ..Meta::default() })?;
                    let object::Object::Task(mut task) = old else { return None };
                    delta::change_task(&mut task, change, now);
                    self.put(object::Object::Task(task), meta)?;
                }
                Action::ChangeNode(change) => {
                    let (kind, now) = (ObjectKind::Node as i32, transaction.now);
                    let read = ObjectRef { kind, id: change.id.clone(), version: change.version };
                    let (old, meta) =
                        self.updated(before, read, Meta { version: index, updated_at: now, ..Meta::default() })?;
                    let object::Object::Node(mut node) = old else { return None };
                    delta::change_node(&mut node, change);
                    self.put(object::Object::Node(node), meta)?;
                }
                Action::AssignRaftId(assign) => {
                    raft_ids += 1;
                    let key = (ObjectKind::Node as i32, assign.node_id);
                    let object::Object::Node(mut node) = self.objects.get(&key)?.clone() else { return None };
                    node.manager =
                        Some(ManagerStatus { raft_id: index, addr: assign.addr, ..ManagerStatus::default() });
                    let created_at = node.meta?.created_at;
                    let node = object::Object::Node(node);
                    self.put(node, Meta { version: index, created_at, updated_at: transaction.now })?;
                }
            }
        }
        (raft_ids <= 1).then_some(())
    }

    /// The object as it was read, and the meta that an update of it has.
    fn updated(&self, before: &Self, read: ObjectRef, meta: Meta) -> Option<(object::Object, Meta)> {
        before.is_at(&read).then_some(())?;
        let key = (read.kind, read.id);
        let created_at = self::meta(self.objects.get(&key)?).created_at;
        Some((before.objects.get(&key)?.clone(), Meta { created_at, ..meta }))
    }

    fn put(&mut self, mut object: object::Object, meta: Meta) -> Option<()> {
        let key = key(&object);
        if let object::Object::Service(service) = &object {
            let taken = self.objects.iter().any(|(other, object)| {
                let object::Object::Service(held) = object else { return false };
                other.1 != key.1 && !name(held).is_empty() && name(held) == name(service)
            });
            if taken {
                return None;
            }
        }
        if let object::Object::Task(task) = &mut object
            && (task.spec_of_revision || task.service_of_revision)
        {
            let key = (ObjectKind::Revision as i32, format!("{}.{}", task.service_id, task.revision));
            let object::Object::Revision(revision) = self.objects.get(&key)? else { return None };
            let spec = revision.spec.clone()?;
            if task.spec_of_revision {
                task.spec = Some(spec.task?);
            }
            if task.service_of_revision {
                task.service = Some(spec.annotations?);
            }
            (task.spec_of_revision, task.service_of_revision) = (false, false);
        }
        if let object::Object::Revision(revision) = &mut object
            && revision.spec.is_none()
        {
            let key = (ObjectKind::Service as i32, revision.service_id.clone());
            let object::Object::Service(service) = self.objects.get(&key)? else { return None };
            let is_current = service.revision == revision.number;
            let is_previous = service.previous_revision == revision.number;
            let of_service = if is_current { &service.spec } else { &service.previous_spec };
            revision.spec = Some(of_service.clone().filter(|_| is_current || is_previous)?);
        }
        let mut stored = any(&object);
        *stored.meta_mut() = meta;
        self.objects.insert(key, stored.into_proto().object?);
        Some(())
    }

    fn is_at(&self, seen: &ObjectRef) -> bool {
        let found = self.objects.get(&(seen.kind, seen.id.clone())).map_or(0, |object| meta(object).version);
        found == seen.version
    }
}

fn key(object: &object::Object) -> (i32, String) {
    let object = any(object);
    (object.kind() as i32, object.id().to_owned())
}

fn meta(object: &object::Object) -> Meta {
    any(object).meta().copied().unwrap_or_default()
}

fn any(object: &object::Object) -> AnyObject {
    AnyObject::from_proto(Object { object: Some(object.clone()) }).expect("there is one in it")
}

fn name(service: &Service) -> &str {
    service.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map_or("", |annotations| &annotations.name)
}
