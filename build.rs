//! Generates `pgfox.v1` from `proto/` with protox, so that no protoc is needed.

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // tonic-prost-build emits no such line; without it any touched file rebuilds every crate.
    println!("cargo:rerun-if-changed=proto");

    let descriptors = protox::compile(["pgfox/v1/pgfox_service.proto", "pgfox/v1/errors.proto"], ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("pgfox_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
