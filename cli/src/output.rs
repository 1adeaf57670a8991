//! Results on standard output, as text or JSON.

use base64::Engine;
use oarlock_client::KeyValue;
use serde_json::{Map, Value, json};
use std::io::Write;

/// As `println!`, for a command whose reader may leave, as `head` does: then the command is done.
macro_rules! say {
    ($($part:tt)*) => { $crate::output::write_line(format_args!($($part)*)) };
}
pub(crate) use say;

/// See [`say`].
pub fn write_line(line: std::fmt::Arguments<'_>) {
    write(format_args!("{line}\n"));
}

/// Writes without a line's end.
pub fn write(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            eprintln!("oarlock: cannot write to standard output: {error}");
        }
        std::process::exit(i32::from(error.kind() != std::io::ErrorKind::BrokenPipe));
    }
}

/// Prints one JSON document on a line of its own.
pub fn line(value: &Value) {
    say!("{value}");
}

/// Bytes under `name` as text; with a second field in base64 when they are not UTF-8.
pub fn put_bytes(into: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    into.insert(name.to_owned(), Value::String(String::from_utf8_lossy(bytes).into_owned()));
    if std::str::from_utf8(bytes).is_err() {
        let coded = base64::engine::general_purpose::STANDARD.encode(bytes);
        into.insert(format!("{name}_base64"), Value::String(coded));
    }
}

/// A record as JSON.
pub fn record(record: &KeyValue) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "key", &record.key);
    put_bytes(&mut object, "value", &record.value);
    object.insert("create_revision".into(), json!(record.create_revision));
    object.insert("mod_revision".into(), json!(record.mod_revision));
    object.insert("version".into(), json!(record.version));
    object.insert("owner".into(), json!(record.owner));
    Value::Object(object)
}

/// A record as a line: key, value, and with `long` the numbers.
pub fn record_text(record: &KeyValue, long: bool) -> String {
    let key = String::from_utf8_lossy(&record.key);
    let value = record.text();
    if !long {
        return format!("{key}\t{value}");
    }
    let KeyValue { create_revision, mod_revision, version, owner, .. } = record;
    format!(
        "{key}\t{value}\tcreated {create_revision}\tchanged {mod_revision}\tversion {version}\towner {owner}"
    )
}

/// A table in the project's one style.
pub fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(header.to_vec());
    table
}

/// Bytes for people.
pub fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_text_is_also_given_in_base64() {
        let odd = KeyValue { key: "k".into(), value: vec![0xff, 0x00].into(), ..KeyValue::default() };
        let document = record(&odd);
        assert_eq!(document["value_base64"], "/wA=");
        assert!(document.get("key_base64").is_none(), "text needs no second form");
    }
}
