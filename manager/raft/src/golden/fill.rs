//! Messages with something in every field, which says what field it is in.
//!
//! A value follows from the field's full name and a variant, so whoever reads it later can tell whether it still is where it was.
//! Variants differ in their values, in their enums and booleans, and in which field of a oneof they have.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};
use skep_proto::{FILE_DESCRIPTOR_SET, Message};

/// Elements of a repeated field; each is of the next variant.
const ELEMENTS: usize = 2;

/// Today's messages.
pub(super) struct Schema(DescriptorPool);

impl Schema {
    pub(super) fn new() -> Self {
        Self(DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap())
    }

    fn of(&self, message: &str) -> MessageDescriptor {
        self.0.get_message_by_name(&format!("skep.v1.{message}")).unwrap()
    }

    /// A message of this name with something in every field.
    pub(super) fn filled<M: Message + Default>(&self, message: &str, variant: usize) -> M {
        M::decode(fill(&self.of(message), variant).encode_to_vec().as_slice()).unwrap()
    }

    /// What is in a message and was not put there for this field and variant, and what today's messages have no field for;
    /// but for the fields (full names) that are `set` to something else.
    pub(super) fn misplaced(&self, message: &str, bytes: &[u8], variant: usize, set: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        misplaced(&DynamicMessage::decode(self.of(message), bytes).unwrap(), variant, set, &mut found);
        found
    }

    /// The fields (full names) that a message has, and those within them.
    pub(super) fn fields(&self, message: &str, bytes: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        fields(&DynamicMessage::decode(self.of(message), bytes).unwrap(), &mut found);
        found
    }

    /// The fields (full names) that such a message can have, and those within them.
    pub(super) fn all_fields(&self, message: &str) -> BTreeSet<String> {
        let (mut found, mut open) = (BTreeSet::new(), vec![self.of(message)]);
        while let Some(message) = open.pop() {
            for field in message.fields() {
                if found.insert(field.full_name().to_owned())
                    && let Kind::Message(inner) = field.kind()
                {
                    open.push(inner);
                }
            }
        }
        found
    }
}

fn fill(message: &MessageDescriptor, variant: usize) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields().filter(|field| is_chosen(field, variant)) {
        let value = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { unreachable!("an entry is a message") };
            let key = scalar(&entry.map_entry_key_field(), variant);
            let key = MapKey::String(key.as_str().unwrap().to_owned());
            Value::Map([(key, value(&entry.map_entry_value_field(), variant))].into())
        } else if field.is_list() {
            Value::List((0..ELEMENTS).map(|element| value(&field, variant + element)).collect())
        } else {
            value(&field, variant)
        };
        filled.set_field(&field, value);
    }
    filled
}

/// Whether a variant has the field: of a oneof, one.
fn is_chosen(field: &FieldDescriptor, variant: usize) -> bool {
    let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
    oneof.is_none_or(|oneof| oneof.fields().nth(variant % oneof.fields().len()).as_ref() == Some(field))
}

fn value(field: &FieldDescriptor, variant: usize) -> Value {
    match field.kind() {
        Kind::Message(message) => Value::Message(fill(&message, variant)),
        _ => scalar(field, variant),
    }
}

fn scalar(field: &FieldDescriptor, variant: usize) -> Value {
    let name = field.full_name();
    // FNV-1a.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let number = 1_000_000 + (hash % 1_000_000) as u32 * 10 + variant as u32;
    let text = format!("{name} {variant}");
    match field.kind() {
        Kind::String => Value::String(text),
        Kind::Bytes => Value::Bytes(Bytes::from(text)),
        Kind::Bool => Value::Bool(variant.is_multiple_of(4) || hash >> (variant % 4) & 1 == 1),
        Kind::Enum(of) => {
            // Not of all values: one that comes later must not make another of what was written.
            let values: Vec<i32> =
                of.values().map(|value| value.number()).filter(|number| *number != 0).take(2).collect();
            Value::EnumNumber(values[(hash as usize).wrapping_add(variant) % values.len()])
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number.into()),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number.into()),
        Kind::Float => Value::F32(number as f32),
        Kind::Double => Value::F64(number.into()),
        Kind::Message(_) => unreachable!("not a scalar"),
    }
}

fn misplaced(message: &DynamicMessage, variant: usize, set: &[&str], found: &mut Vec<String>) {
    let name = message.descriptor().full_name().to_owned();
    found.extend(message.unknown_fields().map(|field| format!("{name} has no field {}", field.number())));
    for (field, given) in message.fields().filter(|(field, _)| !set.contains(&field.full_name())) {
        let mut check = |field: &FieldDescriptor, given: &Value, variant| match given {
            Value::Message(inner) => misplaced(inner, variant, set, found),
            given if *given == scalar(field, variant) => {}
            given => found.push(format!("{} is {given:?} in variant {variant}", field.full_name())),
        };
        match given {
            Value::List(elements) => {
                (variant..).zip(elements).for_each(|(variant, element)| check(&field, element, variant));
            }
            Value::Map(entries) => {
                let Kind::Message(entry) = field.kind() else { unreachable!("an entry is a message") };
                for (key, given) in entries {
                    check(&entry.map_entry_key_field(), &key.clone().into(), variant);
                    check(&entry.map_entry_value_field(), given, variant);
                }
            }
            given => check(&field, given, variant),
        }
    }
}

fn fields(message: &DynamicMessage, found: &mut BTreeSet<String>) {
    let inner = |value: &Value, found: &mut BTreeSet<String>| {
        if let Value::Message(inner) = value {
            fields(inner, found);
        }
    };
    for (field, value) in message.fields() {
        found.insert(field.full_name().to_owned());
        match value {
            Value::List(elements) => elements.iter().for_each(|element| inner(element, found)),
            Value::Map(entries) => {
                let Kind::Message(entry) = field.kind() else { unreachable!("an entry is a message") };
                found.extend(entry.fields().map(|field| field.full_name().to_owned()));
                entries.values().for_each(|value| inner(value, found));
            }
            value => inner(value, found),
        }
    }
}
