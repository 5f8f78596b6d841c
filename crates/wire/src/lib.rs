//! Protobuf code and its conversions: how the services talk to each other and to the world.
//!
//! * **In**: `proto/`, compiled by `build.rs`.
//! * **Out**: a module of generated code per package ([`audit`], [`bus`], [`control`], [`dns`],
//!   [`issuer`], [`intake`]); who may call what ([`access`]); signed [`envelope`]s; private keys
//!   [`sealing`]; refusals and faults as gRPC [`status`]es; [`json`] for the command line.
//!
//! A wire type is always written with its module, `control::Policy`; a bare name elsewhere is the
//! domain's own type.
//!
//! **Invariant**: this is the only crate that knows prost. It does no I/O.

pub mod access;
pub mod envelope;
pub mod json;
pub mod sealing;
pub mod status;
pub mod time;

/// Generated from `proto/`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated code; it is documented in the proto files"
)]
mod generated {
    pub mod dmarcer {
        pub mod access {
            pub mod v1 {
                tonic::include_proto!("dmarcer.access.v1");
            }
        }
        pub mod audit {
            pub mod v1 {
                tonic::include_proto!("dmarcer.audit.v1");
            }
        }
        pub mod bus {
            pub mod v1 {
                tonic::include_proto!("dmarcer.bus.v1");
            }
        }
        pub mod control {
            pub mod v1 {
                tonic::include_proto!("dmarcer.control.v1");
            }
        }
        pub mod dns {
            pub mod v1 {
                tonic::include_proto!("dmarcer.dns.v1");
            }
        }
        pub mod issuer {
            pub mod v1 {
                tonic::include_proto!("dmarcer.issuer.v1");
            }
        }
        pub mod intake {
            pub mod v1 {
                tonic::include_proto!("dmarcer.intake.v1");
            }
        }
    }
}

pub use generated::dmarcer::audit::v1 as audit;
pub use generated::dmarcer::bus::v1 as bus;
pub use generated::dmarcer::control::v1 as control;
pub use generated::dmarcer::dns::v1 as dns;
pub use generated::dmarcer::intake::v1 as intake;
pub use generated::dmarcer::issuer::v1 as issuer;
pub use prost::Message;
pub use prost_types::Timestamp;

/// All of `proto/` as an encoded `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
