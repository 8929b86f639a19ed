//! The JSON schema of the file, for editors.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::Manifest;

/// Where a value's type leaves what the value must be, for the description of whatever has that type.
pub(super) const ACCEPTED: &str = "accepted";

/// The schema, generated from the types.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(say_what_is_accepted))
        .with_transform(RecursiveTransform(without_null))
        .into_generator()
        .into_root_schema_for::<Manifest>()
        .to_value()
}

fn say_what_is_accepted(schema: &mut Schema) {
    if let Some(Value::String(accepted)) = schema.remove(ACCEPTED) {
        let description = schema.get("description").and_then(Value::as_str);
        let description = description.map(|text| format!("{text} ")).unwrap_or_default();
        schema.insert(
            "description".to_owned(),
            format!("{description}It must be {accepted}.").into(),
        );
    }
}

/// What is optional in a type is left out in the file: TOML has no null.
fn without_null(schema: &mut Schema) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_mut_slice() {
            let only = only.take();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [only] = choices.as_mut_slice() {
            let only = only.take();
            schema.remove("anyOf");
            for (key, value) in only.as_object().into_iter().flatten() {
                schema
                    .as_object_mut()
                    .map(|schema| schema.entry(key).or_insert(value.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::schema;

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let published = include_str!("../../../docs/orlop.schema.json");
        let generated = format!("{:#}\n", schema());
        assert_eq!(
            published, generated,
            "write the generated one to docs/orlop.schema.json"
        );
    }
}
