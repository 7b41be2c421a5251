//! Finds libdpdk through pkg-config, compiles the shim and binds an exact list of functions.
//!
//! DPDK's own compiler flags go unchanged to both clang and cc: `-march` and `-include rte_config.h` decide the layout
//! and the code of its inline functions.

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::{Command, exit};

/// Oldest DPDK whose API the shim speaks.
const MINIMUM: &str = "22.11";

/// Real (not inline) DPDK functions, by exact name. Everything else is in the shim.
const FUNCTIONS: &[&str] = &[
    "rte_eal_init",
    "rte_eal_cleanup",
    "rte_eal_hotplug_add",
    "rte_eal_remote_launch",
    "rte_eal_wait_lcore",
    "rte_get_main_lcore",
    "rte_get_next_lcore",
    "rte_lcore_to_socket_id",
    "rte_get_tsc_hz",
    "rte_strerror",
    "rte_version",
    "rte_pktmbuf_pool_create",
    "rte_mempool_free",
    "rte_mempool_avail_count",
    "rte_mempool_in_use_count",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_dev_close",
    "rte_eth_allmulticast_enable",
    "rte_eth_allmulticast_get",
    "rte_eth_promiscuous_get",
    "rte_eth_stats_reset",
    "rte_eth_xstats_reset",
    "rte_eth_tx_done_cleanup",
    "rte_extmem_register",
    "rte_extmem_unregister",
    "rte_telemetry_register_cmd",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shim/shim.h");
    println!("cargo::rerun-if-changed=shim/shim.c");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");

    let library = pkg_config::Config::new().atleast_version(MINIMUM).probe("libdpdk").unwrap_or_else(|error| {
        fail(&format!(
            "DPDK {MINIMUM} or later (libdpdk) was not found.\n\
             On Debian 12: apt install libdpdk-dev\n\
             Elsewhere: set PKG_CONFIG_PATH to the folder that holds libdpdk.pc.\n\
             Without DPDK: build the library alone, cargo test -p dataplane --no-default-features\n\n{error}"
        ))
    });
    println!("cargo::rustc-env=DPDK_SYS_BUILT_VERSION={}", library.version);

    let flags = compiler_flags();
    compile_shim(&flags);
    bind(&flags);
}

/// The raw `--cflags`: the pkg-config crate keeps only include paths and defines of them.
fn compiler_flags() -> Vec<String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = Command::new(&program)
        .args(["--cflags", "libdpdk"])
        .output()
        .unwrap_or_else(|error| fail(&format!("{program} does not run ({error}).\nOn Debian: apt install pkg-config")));
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

fn compile_shim(flags: &[String]) {
    let mut build = cc::Build::new();
    // The shim holds the inlined burst functions: never build it slow, not even for tests.
    build.file("shim/shim.c").opt_level(3).warnings(true).extra_warnings(true).warnings_into_errors(true);
    for flag in flags {
        build.flag(flag);
    }
    build.compile("bypassd_dpdk_shim");
}

fn bind(flags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(flags)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .allowlist_function("bp_.*")
        .allowlist_type("bp_.*|lcore_function_t|rte_iova_t|telemetry_cb")
        .allowlist_var("RTE_EAL_PMD_PATH")
        .generate_cstr(true)
        // Nothing that the list only refers to: the layouts of rte_mbuf and rte_mempool drift between releases, so
        // src/lib.rs declares them without content, for pointers only.
        .allowlist_recursively(false)
        .prepend_enum_name(false)
        .generate_comments(false);
    for function in FUNCTIONS {
        builder = builder.allowlist_function(format!("^{function}$"));
    }
    // bindgen loads libclang at run time and panics when there is none.
    let bindings = panic::catch_unwind(AssertUnwindSafe(|| builder.generate())).unwrap_or_else(|_| {
        fail(
            "bindgen found no usable libclang.\n\
             On Debian: apt install libclang-dev\n\
             Elsewhere: set LIBCLANG_PATH to the folder that holds libclang.so.",
        )
    });
    let bindings = bindings.unwrap_or_else(|error| fail(&format!("bindgen cannot read shim/shim.h: {error}")));
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_else(|| fail("cargo did not set OUT_DIR")));
    if let Err(error) = bindings.write_to_file(out.join("bindings.rs")) {
        fail(&format!("cannot write the bindings: {error}"));
    }
}

/// Ends the build with a text that a person can act on.
#[expect(clippy::exit, reason = "a build script reports failure by its exit status")]
fn fail(text: &str) -> ! {
    eprintln!("\ndpdk-sys: {text}\n");
    exit(1);
}
