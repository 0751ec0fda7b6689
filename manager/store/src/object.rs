//! What every kind of object has in common, and a value that can be any of them.
//!
//! A new kind is a line in the `kinds!` table below, an arm of `Object` in objects.proto and a table in [`View`](crate::View).

use std::sync::Arc;

use skep_proto::v1::{Cluster, Meta, Node, Object, ObjectKind, Service, Task, object};

/// An object the store keeps in a table.
pub trait StoreObject: Clone + Send + Sync + 'static {
    /// Which kind.
    const KIND: ObjectKind;
    /// No two objects of this kind may share a name.
    const UNIQUE_NAMES: bool;

    /// The id: never changes, never reused.
    fn id(&self) -> &str;
    /// Version and times, absent only on an object that was never stored.
    fn meta(&self) -> Option<&Meta>;
    /// The same, to be written by [`apply`](crate::View::apply) alone.
    fn meta_mut(&mut self) -> &mut Meta;
    /// The names people know it by.
    fn names(&self) -> impl Iterator<Item = &str>;

    /// Log index of its last change; 0 if it was never stored.
    fn version(&self) -> u64 {
        self.meta().map_or(0, |meta| meta.version)
    }
}

/// Any object, shared.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyObject {
    /// A node.
    Node(Arc<Node>),
    /// A service.
    Service(Arc<Service>),
    /// A task.
    Task(Arc<Task>),
    /// The cluster.
    Cluster(Arc<Cluster>),
}

/// What can be written in a transaction.
pub trait IntoObject {
    /// The proto form: the same object, not a copy.
    fn into_object(self) -> Object;
}

impl IntoObject for AnyObject {
    fn into_object(self) -> Object {
        self.into_proto()
    }
}

macro_rules! kinds {
    ($($kind:ident { unique: $unique:literal, names: |$it:ident| $names:expr })*) => {
        $(
            impl StoreObject for $kind {
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

            impl IntoObject for $kind {
                fn into_object(self) -> Object {
                    Object { object: Some(object::Object::$kind(self.into())) }
                }
            }

            impl IntoObject for Arc<$kind> {
                fn into_object(self) -> Object {
                    Object { object: Some(object::Object::$kind(self.into())) }
                }
            }

            impl From<Arc<$kind>> for AnyObject {
                fn from(object: Arc<$kind>) -> Self {
                    Self::$kind(object)
                }
            }

            impl From<$kind> for AnyObject {
                fn from(object: $kind) -> Self {
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
    };
}

kinds! {
    Node { unique: false, names: |node| {
        let hostname = node.description.as_ref().map(|description| description.hostname.as_str());
        let given = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map(|annotations| annotations.name.as_str());
        given.filter(|given| hostname != Some(*given)).into_iter().chain(hostname)
    } }
    Service { unique: true, names: |service| {
        service.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map(|annotations| annotations.name.as_str()).into_iter()
    } }
    Task { unique: false, names: |_task| std::iter::empty() }
    Cluster { unique: true, names: |cluster| {
        cluster.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map(|annotations| annotations.name.as_str()).into_iter()
    } }
}

/// How people call the kind: "service".
pub fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Node => "node",
        ObjectKind::Service => "service",
        ObjectKind::Task => "task",
        ObjectKind::Cluster => "cluster",
    }
}
