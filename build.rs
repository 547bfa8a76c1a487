//! Generates `pgfox.v1` from `proto/` with protox, so that no protoc is needed.

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Without this line, which tonic-prost-build does not emit, any touched file rebuilds every crate.
    println!("cargo:rerun-if-changed=proto");

    let descriptors = protox::compile(["pgfox/v1/pgfox_service.proto", "pgfox/v1/errors.proto"], ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("pgfox_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .extern_path(".pgfox.v1.Vector", "crate::v1::Vector")
        .compile_fds(descriptors)?;
    Ok(())
}
