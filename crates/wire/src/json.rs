//! API messages as proto3 JSON, for `-o json`.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

/// Why a message could not be written as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The name is not one of `proto/`.
    #[error("no message is called {name}")]
    UnknownMessage {
        /// What was asked for.
        name: String,
    },
    /// The descriptors or the message could not be read back.
    #[error("{name} can't be written as JSON: {why}")]
    Unreadable {
        /// The message's name.
        name: String,
        /// What the library said.
        why: String,
    },
}

/// The proto3 JSON of a message, with fields at their default written out.
///
/// 64-bit integers are written as numbers, not strings: proto3 JSON readers take both, and
/// shell scripts compare numbers.
///
/// # Errors
/// When `name` is not the full name of `message`'s type, for example `dmarcer.control.v1.Policy`.
pub fn to_json<M: Message>(name: &str, message: &M) -> Result<Value, JsonError> {
    let unreadable = |why: String| JsonError::Unreadable { name: name.to_owned(), why };

    let pool = DescriptorPool::decode(crate::DESCRIPTORS).map_err(|e| unreadable(e.to_string()))?;
    let descriptor = pool
        .get_message_by_name(name)
        .ok_or_else(|| JsonError::UnknownMessage { name: name.to_owned() })?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|e| unreadable(e.to_string()))?;

    let options =
        SerializeOptions::new().skip_default_fields(false).stringify_64_bit_integers(false);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|e| unreadable(e.to_string()))
}

/// Any JSON as a field of a message.
pub fn to_value(json: &Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match json {
        Value::Null => Kind::NullValue(0),
        Value::Bool(it) => Kind::BoolValue(*it),
        // As every JSON reader does; none of our numbers is beyond what a double holds exactly.
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.iter().map(to_value).collect() })
        }
        Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields.iter().map(|(name, value)| (name.clone(), to_value(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control;

    #[test]
    fn scripts_find_the_fields_they_read() {
        let policy = control::Policy {
            domain: "example.com".into(),
            mode: control::PolicyMode::Testing.into(),
            revision: 7,
            max_age_seconds: 86_400,
            ..Default::default()
        };
        let json = to_json("dmarcer.control.v1.Policy", &policy).unwrap();
        assert_eq!(json["mode"], "POLICY_MODE_TESTING");
        assert_eq!(json["revision"], 7);
        assert_eq!(json["maxAgeSeconds"], 86_400);
        assert_eq!(json["policyId"], "");
        assert!(json.get("pendingPolicyId").is_none(), "absent while nothing is pending");
    }
}
