//! The pgfox API in Rust: the messages and stubs of the package `pgfox.v1`, generated from `proto/`.

mod vector;

/// The package `pgfox.v1`.
#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all, clippy::pedantic)]
// The comments of the protos are written for readers of protos.
#[allow(rustdoc::bare_urls, rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]
pub mod v1 {
    pub use crate::vector::Vector;

    tonic::include_proto!("pgfox.v1");

    /// The encoded `FileDescriptorSet` of the API and its imports, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("pgfox_descriptor");
}

/// The `domain` of every `google.rpc.ErrorInfo` that pgfox sends.
pub const ERROR_DOMAIN: &str = "pgfox";
