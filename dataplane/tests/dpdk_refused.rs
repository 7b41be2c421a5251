//! EAL that does not start says why, with the arguments, and cannot be tried again.
#![cfg(feature = "dpdk")]

use dataplane::dpdk::{Eal, EalError, Errno};

#[test]
fn a_failed_start_is_reported_and_final() {
    let nul = "a\0b".to_owned();
    assert_eq!(Eal::init(std::slice::from_ref(&nul)).expect_err("NUL"), EalError::NulInArgument(nul));

    let arguments = vec!["--in-memory".to_owned(), "--no-such-argument".to_owned()];
    let error = Eal::init(&arguments).expect_err("bad argument");
    let text = error.to_string();
    assert_eq!(error, EalError::Init { errno: Errno::InvalidArgument, arguments });
    assert!(text.contains("Invalid argument") && text.contains("--no-such-argument"), "{text}");

    assert_eq!(Eal::init(&["--no-huge".to_owned()]).expect_err("second try"), EalError::AlreadyStarted);
}
