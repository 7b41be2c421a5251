//! The fields of an mbuf that are wanted for every frame, as single loads and stores at the offsets that the C compiler told.

use crate::bindings::{
    BP_FOREIGN_BUFFER, BP_MBUF_BUF_ADDR, BP_MBUF_BUF_LEN, BP_MBUF_DATA_LEN, BP_MBUF_DATA_OFF, BP_MBUF_NB_SEGS,
    BP_MBUF_NEXT, BP_MBUF_OL_FLAGS, BP_MBUF_PACKET_TYPE, BP_MBUF_PKT_LEN, BP_MBUF_REFCNT, BP_PTYPE_L3_IPV6,
    BP_RX_IP_CKSUM_GOOD, BP_RX_IP_CKSUM_MASK, BP_RX_IP_CKSUM_NONE, BP_RX_IP_CKSUM_UNKNOWN, BP_RX_L4_CKSUM_GOOD,
    BP_RX_L4_CKSUM_MASK, BP_RX_L4_CKSUM_NONE,
};
use crate::rte_mbuf;

/// The linear bytes of an mbuf's first segment.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// First byte (`rte_pktmbuf_mtod`).
    pub data: *mut u8,
    /// Bytes in use.
    pub len: u16,
    /// Bytes from `data` to the end of the buffer.
    pub room: u16,
}

/// Where the data of the first segment are.
///
/// # Safety
/// `mbuf` is live, and nobody writes its fields meanwhile.
#[inline]
#[must_use]
pub unsafe fn mbuf_span(mbuf: *const rte_mbuf) -> Span {
    // SAFETY: a live mbuf, a field of that type.
    let address = unsafe { field::<*mut u8>(mbuf, BP_MBUF_BUF_ADDR) };
    // SAFETY: as above.
    let offset = unsafe { field::<u16>(mbuf, BP_MBUF_DATA_OFF) };
    // SAFETY: as above.
    let len = unsafe { field::<u16>(mbuf, BP_MBUF_DATA_LEN) };
    // SAFETY: as above.
    let buffer_len = unsafe { field::<u16>(mbuf, BP_MBUF_BUF_LEN) };
    Span { data: address.wrapping_add(usize::from(offset)), len, room: buffer_len.wrapping_sub(offset) }
}

/// Whether the mbuf's first segment is its own buffer, and nobody else holds it: then, and only then, it may be written. A driver
/// that passes pointers (`net_ring`) may hand out an mbuf that refers to lent memory, or one that its sender kept.
///
/// # Safety
/// As for [`mbuf_span`].
#[inline]
#[must_use]
pub unsafe fn mbuf_is_own(mbuf: *const rte_mbuf) -> bool {
    // SAFETY: a live mbuf, the upper half of a field of 64 bits.
    let flags = unsafe { field::<u32>(mbuf, BP_MBUF_OL_FLAGS + 4) };
    // SAFETY: a live mbuf, a field of that type, which another holder can only change by letting go.
    let holders = unsafe { field::<u16>(mbuf, BP_MBUF_REFCNT) };
    flags & BP_FOREIGN_BUFFER == 0 && holders == 1
}

/// The segment behind this one; null behind the last.
///
/// # Safety
/// As for [`mbuf_span`].
#[inline]
#[must_use]
pub unsafe fn mbuf_next(mbuf: *const rte_mbuf) -> *const rte_mbuf {
    // SAFETY: a live mbuf, a field of that type.
    unsafe { field::<*const rte_mbuf>(mbuf, BP_MBUF_NEXT) }
}

/// Whether the mbuf is a whole frame: nothing is chained to it.
///
/// # Safety
/// As for [`mbuf_span`].
#[inline]
#[must_use]
pub unsafe fn mbuf_is_linear(mbuf: *const rte_mbuf) -> bool {
    // SAFETY: a live mbuf, a field of that type.
    unsafe { field::<u16>(mbuf, BP_MBUF_NB_SEGS) == 1 }
}

/// Sets the length of a linear mbuf.
///
/// # Safety
/// `mbuf` is live, linear, the caller's alone, and its buffer has that much room.
#[inline]
pub unsafe fn mbuf_set_len(mbuf: *mut rte_mbuf, len: u16) {
    // SAFETY: a live mbuf, a field of that type.
    unsafe { set_field(mbuf, BP_MBUF_DATA_LEN, len) };
    // SAFETY: as above.
    unsafe { set_field(mbuf, BP_MBUF_PKT_LEN, u32::from(len)) };
}

/// Whether the port found IP and UDP checksum of a received mbuf right. `NONE` means: the data are verified, the field in the
/// packet is not meaningful; it is as good as `GOOD`. A frame whose type the driver did not tell counts as IPv4, the stricter
/// case: its IP checksum must be known.
///
/// # Safety
/// As for [`mbuf_span`].
#[inline]
#[must_use]
pub unsafe fn mbuf_checksums_good(mbuf: *const rte_mbuf) -> bool {
    // SAFETY: a live mbuf, a field of that type. The bits that are asked for are among the lower 32.
    let flags = unsafe { field::<u32>(mbuf, BP_MBUF_OL_FLAGS) };
    let l4 = flags & BP_RX_L4_CKSUM_MASK;
    if l4 != BP_RX_L4_CKSUM_GOOD && l4 != BP_RX_L4_CKSUM_NONE {
        return false;
    }
    // SAFETY: as above.
    let packet_type = unsafe { field::<u32>(mbuf, BP_MBUF_PACKET_TYPE) };
    match flags & BP_RX_IP_CKSUM_MASK {
        BP_RX_IP_CKSUM_GOOD | BP_RX_IP_CKSUM_NONE => true,
        BP_RX_IP_CKSUM_UNKNOWN => packet_type & BP_PTYPE_L3_IPV6 != 0,
        _ => false,
    }
}

/// # Safety
/// `mbuf` is live, and `offset` is that of a field of type `T`, or of its lower part.
#[inline]
unsafe fn field<T: Copy>(mbuf: *const rte_mbuf, offset: u32) -> T {
    // SAFETY: within the mbuf.
    let place = unsafe { mbuf.byte_add(offset as usize) };
    // SAFETY: a field of that type, as the caller says; C keeps it aligned.
    unsafe { place.cast::<T>().read() }
}

/// # Safety
/// As for [`field`], and the mbuf is the caller's alone.
#[inline]
unsafe fn set_field<T: Copy>(mbuf: *mut rte_mbuf, offset: u32, value: T) {
    // SAFETY: within the mbuf.
    let place = unsafe { mbuf.byte_add(offset as usize) };
    // SAFETY: a field of that type, as the caller says; C keeps it aligned.
    unsafe { place.cast::<T>().write(value) };
}

#[cfg(not(target_endian = "little"))]
compile_error!("the halves of ol_flags are read as its first and last four bytes");
