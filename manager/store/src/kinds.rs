//! The kinds of object, defined by one table: [`AnyObject`], the store's tables, their order in snapshots and their
//! names follow from it.
//!
//! # To add a kind
//!
//! Define a message in objects.proto, name it in `Object` and `ObjectKind`, and add a row here, behind the kinds it
//! refers to.
//!
//! - *Follows from the row:* its table, with lookup by id, name and prefix; its actions in the log; its place in
//!   snapshots; its versions and times; watches of its kind; its name in messages.
//! - *The compiler asks*, in every match over the kinds that decides something for each (none of them has a default
//!   arm): which secondary indexes it has (`view.rs`), what it shares with other objects (`revision.rs`), whether an
//!   update of it is written as a difference (`delta.rs`); in `skep-core` which services its change concerns
//!   (`scope.rs`), what the journal says of it, whether nodes are sent it (`assign.rs`), whether the scheduler counts
//!   it (`scheduler/pool.rs`); in `skep-manager` what sessions are told of it (`dispatcher/facts.rs`), what of it must
//!   not leave the managers (`control/watch.rs`), how it is explained; in `skep-dockerapi` whether Docker has events of
//!   it.
//! - *A test asks* for a feature level and its golden file (`skep-raft`), and for a line in the authorization table for
//!   each new RPC (`skep-common`).
//! - *Nobody asks:* a typed getter and iterator ([`View`](crate::View)), lookup by what a user gives (`lookup.rs`),
//!   rules of its own for what may be written (`apply.rs`), a `Write` for planners that write it (`skep-core`'s
//!   `plan.rs`), its validation, the RPCs that users create and list it with, their part of the Docker API, the
//!   commands of `skep`; objects of it in the histories of the store's tests; its rows in docs/design/ownership.md.
//!
//! Code that looks for objects of one kind only (`if let AnyObject::Node(node) = ..`) needs no decision of the others.

use std::sync::Arc;

use skep_proto::v1::{Annotations, Cluster, Meta, Node, Object, ObjectKind, Service, ServiceRevision, Task, object};

use crate::{
    object::{IntoObject, StoreObject},
    table::{Row, Table},
};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident($message:ident) in $table:ident {
        name: $name:literal, unique: $unique:literal, names: |$it:ident| $names:expr $(,)?
    })*) => {
        /// Any object, shared.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyObject {
            $($(#[$doc])* $kind(Arc<$message>),)*
        }

        /// The kind's name in messages: "service".
        pub fn kind_name(kind: ObjectKind) -> &'static str {
            match kind { $(ObjectKind::$kind => $name,)* }
        }

        $(
            impl StoreObject for $message {
                const KIND: ObjectKind = ObjectKind::$kind;
                const UNIQUE_NAMES: bool = $unique;

                fn id(&self) -> &str {
                    &self.id
                }
                fn meta(&self) -> Option<&Meta> {
                    self.meta.as_ref()
                }
                fn meta_mut(&mut self) -> &mut Meta {
                    self.meta.get_or_insert_default()
                }
                fn names(&self) -> impl Iterator<Item = &str> {
                    let $it = self;
                    $names.filter(|name: &&str| !name.is_empty())
                }
            }

            impl IntoObject for $message {
                fn into_object(self) -> Object {
                    Object { object: Some(object::Object::$kind(self.into())) }
                }
            }

            impl IntoObject for Arc<$message> {
                fn into_object(self) -> Object {
                    Object { object: Some(object::Object::$kind(self.into())) }
                }
            }

            impl From<Arc<$message>> for AnyObject {
                fn from(object: Arc<$message>) -> Self {
                    Self::$kind(object)
                }
            }

            impl From<$message> for AnyObject {
                fn from(object: $message) -> Self {
                    Self::$kind(Arc::new(object))
                }
            }
        )*

        impl AnyObject {
            /// Which kind.
            pub fn kind(&self) -> ObjectKind {
                match self { $(Self::$kind(_) => ObjectKind::$kind,)* }
            }

            /// The id.
            pub fn id(&self) -> &str {
                match self { $(Self::$kind(object) => object.id(),)* }
            }

            /// Log index of its last change; 0 if it was never stored.
            pub fn version(&self) -> u64 {
                match self { $(Self::$kind(object) => object.version(),)* }
            }

            /// Version and times, absent only on an object that was never stored.
            pub fn meta(&self) -> Option<&Meta> {
                match self { $(Self::$kind(object) => object.meta(),)* }
            }

            /// Its meta, to be written. Copies the object unless this is the only share of it.
            pub(crate) fn meta_mut(&mut self) -> &mut Meta {
                match self { $(Self::$kind(object) => Arc::make_mut(object).meta_mut(),)* }
            }

            /// The proto form, `None` of an object message without an object.
            pub fn from_proto(object: Object) -> Option<Self> {
                Some(match object.object? { $(object::Object::$kind(object) => Self::$kind(object.into()),)* })
            }

            /// The proto form: the same object, not a copy.
            pub fn into_proto(self) -> Object {
                match self { $(Self::$kind(object) => object.into_object(),)* }
            }
        }

        /// A table for each kind.
        #[derive(Clone, Default)]
        pub(crate) struct Tables {
            $(pub(crate) $table: Table<$message>,)*
        }

        impl Tables {
            /// Any object by kind and id.
            pub(crate) fn object(&self, kind: ObjectKind, id: &str) -> Option<AnyObject> {
                match kind { $(ObjectKind::$kind => self.$table.get(id).cloned().map(Into::into),)* }
            }

            /// Every object: kinds in the order of their rows, then by id.
            pub(crate) fn objects(&self) -> impl Iterator<Item = AnyObject> + '_ {
                std::iter::empty()$(.chain(self.$table.iter().cloned().map(AnyObject::from)))*
            }

            /// How many objects there are.
            pub(crate) fn len(&self) -> usize {
                0 $(+ self.$table.len())*
            }

            /// Where an object is in its table.
            pub(crate) fn row(&self, kind: ObjectKind, id: &str) -> Option<Row> {
                match kind { $(ObjectKind::$kind => self.$table.row(&id.into()),)* }
            }

            /// The object in a row of its table.
            pub(crate) fn at(&self, kind: ObjectKind, row: Row) -> Option<AnyObject> {
                match kind { $(ObjectKind::$kind => self.$table.at(row).cloned().map(Into::into),)* }
            }

            /// A name of the object that another one of its kind has, where names are unique; and the id of that one.
            pub(crate) fn name_taken(&self, object: &AnyObject) -> Option<(String, String)> {
                match object { $(AnyObject::$kind(object) => self.$table.name_taken(object),)* }
            }

            /// Puts an object in place of the one with its id, which has this row (`None`: there is none) and is given
            /// back. Says where it is.
            pub(crate) fn put(&mut self, row: Option<Row>, object: AnyObject) -> (Row, Option<AnyObject>) {
                match object {
                    $(AnyObject::$kind(object) => match row {
                        Some(row) => (row, self.$table.set(row, object).map(Into::into)),
                        None => (self.$table.add(object), None),
                    },)*
                }
            }

            /// Takes an object out. Says where it was.
            pub(crate) fn take(&mut self, kind: ObjectKind, id: &str) -> Option<(Row, AnyObject)> {
                match kind {
                    $(ObjectKind::$kind => self.$table.take(id).map(|(row, old)| (row, old.into())),)*
                }
            }
        }
    };
}

// In the order of a snapshot: what others refer to comes before them.
kinds! {
    /// The cluster.
    Cluster(Cluster) in clusters {
        name: "cluster", unique: true, names: |cluster| given(cluster.spec.as_ref().and_then(|spec| spec.annotations.as_ref()))
    }
    /// A node.
    Node(Node) in nodes {
        name: "node", unique: false, names: |node| {
            let hostname = node.description.as_ref().map(|description| description.hostname.as_str());
            let given = given(node.spec.as_ref().and_then(|spec| spec.annotations.as_ref()));
            given.filter(move |given| hostname != Some(*given)).chain(hostname)
        }
    }
    /// A service.
    Service(Service) in services {
        name: "service", unique: true, names: |service| {
            given(service.spec.as_ref().and_then(|spec| spec.annotations.as_deref()))
        }
    }
    /// A spec that a service had.
    Revision(ServiceRevision) in revisions { name: "revision", unique: false, names: |_revision| std::iter::empty() }
    /// A task.
    Task(Task) in tasks { name: "task", unique: false, names: |_task| std::iter::empty() }
}

fn given(annotations: Option<&Annotations>) -> impl Iterator<Item = &str> {
    annotations.map(|annotations| annotations.name.as_str()).into_iter()
}
