//! The raw bindings against a real EAL, without hugepages or a NIC: a frame goes out of a `net_ring` port and comes back.

use core::ffi::{CStr, c_char, c_int};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use std::ffi::CString;

use dpdk_sys as sys;

const NAME: &CStr = c"net_ring0";

fn start_eal() {
    let arguments = [
        "test",
        "--no-huge",
        "-m",
        "64",
        "--no-pci",
        "--no-shconf",
        "--no-telemetry",
        "--lcores",
        "0",
        "--vdev",
        "net_ring0",
    ];
    // Leaked: EAL may keep pointers to its arguments.
    let mut argv: Vec<*mut c_char> =
        arguments.iter().map(|text| CString::new(*text).expect("no NUL").into_raw()).collect();
    argv.push(null_mut());
    let argc = c_int::try_from(arguments.len()).expect("few arguments");
    // SAFETY: `argv` holds `argc` writable C strings and a terminating null; called once in this process.
    assert!(unsafe { sys::rte_eal_init(argc, argv.as_mut_ptr()) } >= 0);
}

#[test]
fn a_frame_comes_back_from_net_ring() {
    start_eal();
    // SAFETY: no precondition.
    let running = unsafe { sys::rte_version() };
    // SAFETY: a static C string.
    let running = unsafe { CStr::from_ptr(running) }.to_str().expect("ASCII");
    assert_eq!(running, format!("DPDK {}", sys::BUILT_VERSION), "runs against another DPDK than it was built for");

    let mut port = u16::MAX;
    // SAFETY: EAL is up; the name is a C string and the answer has a place.
    let found = unsafe { sys::rte_eth_dev_get_port_by_name(NAME.as_ptr(), &raw mut port) };
    assert_eq!(found, 0, "net_ring driver missing");
    let mut info = MaybeUninit::<sys::bp_port_info>::zeroed();
    // SAFETY: `info` is writable and as large as the shim's structure.
    assert_eq!(unsafe { sys::bp_port_info(port, info.as_mut_ptr()) }, 0);
    // SAFETY: the call succeeded and filled it.
    let info = unsafe { info.assume_init() };
    // SAFETY: the shim leaves a NUL-terminated name.
    assert_eq!(unsafe { CStr::from_ptr(info.name.as_ptr()) }, NAME);

    // SAFETY: EAL is up. Null would mean that the "ring" mempool handler is not loaded.
    let pool = unsafe { sys::rte_pktmbuf_pool_create(c"test".as_ptr(), 255, 0, 0, 2048 + 128, -1) };
    assert!(!pool.is_null(), "ring mempool handler missing");

    let request = sys::bp_port_request {
        queue_pairs: 1,
        mtu: 1500,
        rx_checksum: false,
        tx_checksum: false,
        rss: false,
        scatter: false,
        multi_segments: false,
    };
    // SAFETY: the port exists and is not started; `request` lives through the call.
    assert_eq!(unsafe { sys::bp_port_configure(port, &raw const request) }, 0);
    // SAFETY: the port is configured with queue 0; the pool is alive until the port is closed.
    assert_eq!(unsafe { sys::bp_rx_queue_setup(port, 0, 64, pool) }, 0);
    // SAFETY: the port is configured with queue 0.
    assert_eq!(unsafe { sys::bp_tx_queue_setup(port, 0, 64) }, 0);
    // SAFETY: all its queues are set up.
    assert_eq!(unsafe { sys::rte_eth_dev_start(port) }, 0);

    // SAFETY: the pool is alive.
    let mut mbuf = unsafe { sys::bp_mbuf_alloc(pool) };
    assert!(!mbuf.is_null());
    // SAFETY: a fresh mbuf is linear and has more than 64 bytes of room.
    unsafe { sys::mbuf_set_len(mbuf, 64) };
    // SAFETY: the mbuf is ours.
    let span = unsafe { sys::mbuf_span(mbuf) };
    assert_eq!((span.len, span.room), (64, 2048));
    // SAFETY: `span` covers 64 writable bytes of our mbuf.
    unsafe { span.data.write_bytes(0x5a, 64) };
    // SAFETY: the port is started; the mbuf is ours and goes to the port.
    assert_eq!(unsafe { sys::bp_tx_burst(port, 0, &raw mut mbuf, 1) }, 1);

    let mut received = null_mut();
    // SAFETY: the port is started; there is a place for one mbuf.
    assert_eq!(unsafe { sys::bp_rx_burst(port, 0, &raw mut received, 1) }, 1);
    // SAFETY: the received mbuf is ours.
    let span = unsafe { sys::mbuf_span(received) };
    assert_eq!(span.len, 64);
    // SAFETY: 64 initialised bytes of our mbuf, which is alive until it is freed below.
    let bytes = unsafe { core::slice::from_raw_parts(span.data, 64) };
    assert_eq!(bytes, [0x5a; 64]);
    // SAFETY: the mbuf is ours and not used again.
    unsafe { sys::bp_mbuf_free(received) };
    a_loan_is_counted_and_its_segment_nobodys_own(pool);
    // SAFETY: the pool is alive.
    assert_eq!(unsafe { sys::rte_mempool_in_use_count(pool) }, 0);

    // SAFETY: the port is started and nobody polls it.
    assert_eq!(unsafe { sys::rte_eth_dev_stop(port) }, 0);
    // SAFETY: the port is stopped.
    assert_eq!(unsafe { sys::rte_eth_dev_close(port) }, 0);
    // SAFETY: no mbuf is out and no port uses the pool.
    unsafe { sys::rte_mempool_free(pool) };
    // SAFETY: EAL is up and nothing of it is used again.
    assert_eq!(unsafe { sys::rte_eal_cleanup() }, 0);
}

fn a_loan_is_counted_and_its_segment_nobodys_own(pool: *mut sys::rte_mempool) {
    static LENT: [u8; 100] = [7; 100];
    // SAFETY: no precondition.
    let loan = unsafe { sys::bp_loan_new() };
    assert!(!loan.is_null());
    // SAFETY: the pool is alive.
    let mbuf = unsafe { sys::bp_mbuf_alloc(pool) };
    assert!(!mbuf.is_null());
    // SAFETY: a fresh mbuf, a pool and a loan that are alive, and memory that stays.
    assert!(unsafe { sys::bp_mbuf_attach_loan(mbuf, pool, loan, LENT.as_ptr().cast(), 100) });
    // SAFETY: the mbuf is ours.
    let tail = unsafe { sys::mbuf_next(mbuf) };
    // SAFETY: both segments are ours.
    assert!(!unsafe { sys::mbuf_is_own(tail) });
    // SAFETY: as above.
    assert!(unsafe { sys::mbuf_is_own(mbuf) });
    // SAFETY: as above.
    assert!(!unsafe { sys::mbuf_is_linear(mbuf) });
    // SAFETY: as above.
    assert_eq!(unsafe { sys::mbuf_span(tail) }.data.cast_const(), LENT.as_ptr());
    // SAFETY: the loan is alive.
    assert_eq!(unsafe { sys::bp_loan_references(loan) }, 1);
    // SAFETY: the mbuf is ours and not used again.
    unsafe { sys::bp_mbuf_free(mbuf) };
    // SAFETY: the loan is alive.
    assert_eq!(unsafe { sys::bp_loan_references(loan) }, 0);

    // The pool gives both again, the one that referred to the loan with its own buffer.
    // SAFETY: the pool is alive.
    let first = unsafe { sys::bp_mbuf_alloc(pool) };
    // SAFETY: as above.
    let second = unsafe { sys::bp_mbuf_alloc(pool) };
    for mbuf in [first, second] {
        // SAFETY: a fresh mbuf of ours.
        assert!(unsafe { sys::mbuf_is_own(mbuf) });
        // SAFETY: as above, and not used again.
        unsafe { sys::bp_mbuf_free(mbuf) };
    }
    // SAFETY: nothing refers to the loan.
    unsafe { sys::bp_loan_free(loan) };
}
