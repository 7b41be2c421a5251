//! Raw DPDK: an exact list of its functions and the `bp_` shim for its inline ones. Adds no safety and no policy.
//!
//! `rte_mbuf` and `rte_mempool` are opaque: their layout differs between releases, so the few fields that the poll loop reads are
//! found at the offsets that the C compiler tells. The safe layer is `dataplane::dpdk`.

mod mbuf;

pub use mbuf::{Span, mbuf_checksums_good, mbuf_is_linear, mbuf_is_own, mbuf_next, mbuf_set_len, mbuf_span};

/// Version of the libdpdk that this crate was compiled against, as pkg-config tells it (`22.11.11`).
pub const BUILT_VERSION: &str = env!("DPDK_SYS_BUILT_VERSION");

/// A packet buffer; only ever behind a pointer.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct rte_mbuf {
    opaque: [u8; 0],
}

/// A pool of packet buffers; only ever behind a pointer.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct rte_mempool {
    opaque: [u8; 0],
}

/// A telemetry reply, or a part of one; only ever behind a pointer.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct rte_tel_data {
    opaque: [u8; 0],
}

#[allow(missing_docs, non_camel_case_types, non_upper_case_globals, unused_qualifications)]
mod bindings {
    use super::{rte_mbuf, rte_mempool, rte_tel_data};

    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;
