//! Generates the Rust types of every schema, without an installed `protoc`.

use prost::Message;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let public = ["types", "kv", "session", "watch", "cluster", "lock", "pool"]
        .map(|name| format!("oarlock/v1/{name}.proto"));
    let internal = ["log", "peer"].map(|name| format!("oarlock/internal/{name}.proto"));
    let etcd = [
        "header",
        "mvccpb",
        "authpb",
        "kv",
        "watch",
        "lease",
        "cluster",
        "maintenance",
        "auth",
        "v3lockpb",
        "v3electionpb",
    ]
    .map(|name| format!("etcd/{name}.proto"));
    let schemas: Vec<String> = public.into_iter().chain(internal).chain(etcd).collect();

    let descriptors = protox::compile(&schemas, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    for schema in &schemas {
        println!("cargo:rerun-if-changed={schema}");
    }
    Ok(())
}
