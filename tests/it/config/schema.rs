//! The JSON schema that is committed is that of the code.

use std::{fs, path::Path};

use palisade::{
    client_ip::TrustedProxies,
    config::{SCHEMA, SecurityConfig},
    ip_set::IpSet,
};

#[test]
fn the_committed_schema_is_in_step() {
    let schema = schemars::schema_for!(SecurityConfig);
    let mut text = serde_json::to_string_pretty(&schema).unwrap();
    text.push('\n');
    if SCHEMA != text {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema.json");
        fs::write(&path, &text).unwrap();
        panic!(
            "src/config/schema.json is out of step: copy {} over it",
            path.display()
        );
    }
}

#[test]
fn every_key_is_described_and_no_other_is_allowed() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let mut objects = 0;
    check(&schema, &mut objects);
    assert!(objects > 10, "{objects}");
}

#[test]
fn trusted_proxies_are_written_as_a_set_of_addresses_is() {
    let bare = |mut schema: schemars::Schema| {
        schema.remove("title");
        schema.to_value()
    };
    let schema = bare(schemars::schema_for!(TrustedProxies));
    assert!(schema.get("anyOf").is_some(), "{schema}");
    assert_eq!(schema, bare(schemars::schema_for!(IpSet)));
}

fn check(schema: &serde_json::Value, objects: &mut usize) {
    if let Some(properties) = schema.get("properties").and_then(|it| it.as_object()) {
        *objects += 1;
        assert_eq!(schema["additionalProperties"], false, "{schema}");
        for (key, property) in properties {
            let is_described =
                property.get("description").is_some() || property.get("type").is_some();
            assert!(is_described, "{key}: {property}");
        }
    }
    let children: Vec<_> = match schema {
        serde_json::Value::Array(items) => items.iter().collect(),
        serde_json::Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    };
    for child in children {
        check(child, objects);
    }
}
