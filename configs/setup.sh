#!/usr/bin/env bash
# Installs what building, demonstrating and testing bypassd need on Debian 12; what is there already is left alone.
# Opens no port. DPDK's drivers bring rdma-core along; systemd starts its daemons only for RDMA devices.
set -euo pipefail

usage() {
    cat <<'END'
Usage: configs/setup.sh [--check] [--no-tools] [--peers]

  (nothing)    install what is missing: rustfmt and clippy, Debian packages, tftpy and promql-parser into target/venv, cargo-deny,
               typos and cargo-deb with cargo
  --check      only say what is there and what is missing; exit status 1 when something needed is missing
  --no-tools   leave cargo-deny, typos and cargo-deb alone (configs/test.sh skips what needs them)
  --peers      also unpack stock TFTP servers (dnsmasq, in.tftpd, atftpd) into target/peers, for `--peer` in the tests
  -h           this text

Needs Rust 1.95 or later (https://rustup.rs) and, to install packages, root or sudo.
END
}

check=false tools=true peers=false
for arg in "$@"; do
    case $arg in
        --check) check=true ;;
        --no-tools) tools=false ;;
        --peers) peers=true ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

repo=$(cd "$(dirname "$0")/.." && pwd)
venv=${BYPASSD_VENV:-$repo/target/venv}
export PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"
missing=() lacking=0

say() { printf '  %-9s %s\n' "$1" "$2"; }

# need PACKAGE WHAT-FOR TEST...: PACKAGE is wanted unless TEST succeeds.
need() {
    local package=$1 reason=$2
    shift 2
    if "$@" >/dev/null 2>&1; then
        say ok "$package ($reason)"
    else
        say missing "$package ($reason)"
        missing+=("$package")
    fi
}

has() { command -v "$1"; }
is_installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1")" = "ii " ]; }
python_has() { /usr/bin/python3 -c "import $1"; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

echo "Rust"
wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repo/Cargo.toml")
if ! has cargo >/dev/null || ! version=$(cd "$repo" && cargo --version); then
    say missing "cargo: install Rust first, see https://rustup.rs"
    lacking=1
elif ! printf '%s\n' "$wanted" "$(cut -d' ' -f2 <<<"$version")" | sort -CV; then
    say missing "cargo $wanted or later, this is $version: rustup update stable"
    lacking=1
else
    say ok "$version"
    for component in rustfmt:fmt clippy:clippy; do # the minimal profile has neither
        if (cd "$repo" && cargo "${component#*:}" --version) >/dev/null 2>&1; then
            say ok "${component%:*} (tests: format and lints)"
        elif $check; then
            say missing "${component%:*} (tests: format and lints)"
            lacking=1
        else
            say install "${component%:*} (tests: format and lints)"
            (cd "$repo" && rustup component add "${component%:*}") || say failed "${component%:*}: its checks will fail"
        fi
    done
fi

echo "Debian packages"
need build-essential "C compiler and linker" has cc
need pkg-config "finds DPDK" has pkg-config
need libdpdk-dev "DPDK and its drivers" is_installed libdpdk-dev
need clang "bindgen's headers" has clang
need libclang-dev "bindgen" is_installed libclang-dev
need git "version control" has git
need iproute2 "network namespaces" has ip
need ethtool "offloads off on veth" has ethtool
need procps "sysctl" has sysctl
need nftables "tests: NAT and firewall" has nft
need iputils-ping "tests: ping" has ping
need iputils-arping "tests: arping" has arping
need tftp-hpa "TFTP client" has tftp
need atftp "TFTP client with windows" has atftp
need curl "TFTP client" has curl
need busybox "TFTP client" has busybox
need python3 "tests" test -x /usr/bin/python3
need python3-pytest "tests" python_has pytest
need python3-pytest-timeout "tests: bounded times" python_has pytest_timeout
need python3-prometheus-client "tests: reads OpenMetrics" python_has prometheus_client
need python3-venv "tests: a place for tftpy and promql-parser" python_has ensurepip
need dpdk-dev "tests: dpdk-telemetry.py" has dpdk-telemetry.py
need dnsmasq-base "tests: DHCP server" has dnsmasq
need python3-pexpect "tests: the prompt in a pseudo-terminal" python_has pexpect
need python3-scapy "tests: capture files read by another" is_installed python3-scapy
need valgrind "instruction counts, memory checks" has valgrind
need shellcheck "checks the scripts" has shellcheck
need systemd "checks the unit" has systemd-analyze
need mandoc "checks the manual pages" has mandoc
need dpkg-dev "the Debian package" has dpkg-shlibdeps
if $peers; then
    need libwrap0 "in.tftpd and atftpd" is_installed libwrap0
fi

if [ ${#missing[@]} -gt 0 ]; then
    if $check; then
        lacking=1
    else
        echo "Installing: ${missing[*]}"
        as_root apt-get update -q
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}"
    fi
fi

echo "Python"
if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import tftpy, promql_parser' 2>/dev/null; then
    say ok "tftpy (TFTP client), promql-parser (tests: the dashboard's queries)"
elif $check; then
    say missing "tftpy (TFTP client), promql-parser (tests: the dashboard's queries)"
    lacking=1
else
    say install "tftpy and promql-parser into ${venv#"$repo"/}"
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check tftpy==0.8.7 promql-parser==0.12.0
fi

echo "Optional tools"
for tool in cargo-deny:cargo-deny typos:typos-cli cargo-deb:cargo-deb; do
    program=${tool%:*} crate=${tool#*:}
    if has "$program" >/dev/null; then
        say ok "$program"
    elif $check || ! $tools; then
        say missing "$program (optional)"
    else
        say install "$program (this takes some minutes)"
        cargo install --locked --quiet "$crate" || say failed "$program: its checks will be skipped"
    fi
done

if $peers && ! $check; then
    echo "Stock servers"
    for package in tftpd-hpa atftpd; do # unpacked apart, not installed: both ship in.tftpd and start services
        program=${package/tftpd-hpa/in.tftpd}
        if [ -x "$repo/target/peers/$package/usr/sbin/$program" ]; then
            say ok "$program"
        else
            say unpack "$program into target/peers/$package"
            place=$(mktemp -d)
            (cd "$place" && apt-get download -q "$package" 2>/dev/null)
            mkdir -p "$repo/target/peers/$package"
            dpkg -x "$place"/*.deb "$repo/target/peers/$package"
            rm -r "$place"
        fi
    done
fi

if [ $lacking -ne 0 ]; then
    if $check; then
        echo "Something is missing; configs/setup.sh installs it, except Rust itself."
    else
        echo "Everything is here now, except Rust $wanted or later."
    fi
    exit 1
fi
