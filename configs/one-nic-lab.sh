#!/usr/bin/env bash
# Shows one NIC for everything: a host gets its address by DHCP, and then a file by TFTP, from one address, while the kernel there goes
# on to answer ping and TCP. Leaves the machine as it was.
set -Eeuo pipefail

usage() {
    cat <<'END'
Usage: configs/one-nic-lab.sh [--keep] [--no-setup]

Two network namespaces with a cable between them stand for a server with a single NIC and a host that boots. In the
server: bypassd on the cable with --kernel-interface kern0, dnsmasq (DHCP only) and a TCP service on kern0, all at
10.99.0.1. The host: busybox udhcpc, ping, TFTP, and bulk TCP with a checksum beside it. Needs root (or sudo).

  --keep       leave it running and say how to look around and how to stop it
  --no-setup   do not install what is missing, do not build
  -h           this text
END
}

keep=false setup=true
for arg in "$@"; do
    case $arg in
        --keep) keep=true ;;
        --no-setup) setup=false ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

if [ "$(id -u)" -ne 0 ]; then
    exec sudo --preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME,CARGO_TARGET_DIR "$0" "$@"
fi

repo=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$repo/target}
export PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"
server=10.99.0.1 ns_server=bypassd-one-s-$$ ns_host=bypassd-one-h-$$
work='' pids=()

step() { printf '\n==> %s\n' "$*"; }
fail() { printf 'one-nic-lab: %s\n' "$*" >&2; exit 1; }
on_server() { ip netns exec "$ns_server" "$@"; }
on_host() { ip netns exec "$ns_host" "$@"; }
control() { "$target/release/bypassctl" --control "$work/control" "$@"; }
wait_for() { # wait_for WHAT FILE WORDS
    for _ in $(seq 200); do grep -q "$3" "$2" 2>/dev/null && return; sleep 0.1; done
    cat "$2" >&2
    fail "not within 20 s: $1"
}

# Ends what was started, newest first, and removes the namespaces with their links. Runs once.
# shellcheck disable=SC2317  # called by the trap
clean_up() {
    local status=$? at
    trap - EXIT INT TERM
    set +e
    for ((at = ${#pids[@]} - 1; at >= 0; at--)); do
        kill -TERM "${pids[at]}" 2>/dev/null
        for _ in $(seq 100); do kill -0 "${pids[at]}" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "${pids[at]}" 2>/dev/null
        wait "${pids[at]}" 2>/dev/null
    done
    ip netns del "$ns_host" 2>/dev/null
    ip netns del "$ns_server" 2>/dev/null
    [ -n "$work" ] && rm -rf "$work"
    exit $status
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if $setup; then
    step "Look for what is missing, install it, build"
    "$repo/configs/setup.sh" --no-tools
    (cd "$repo" && cargo build --release --locked)
fi
[ -x "$target/release/bypassd" ] || fail "bypassd is not built: cargo build --release"

step "Two namespaces and a cable"
work=$(mktemp -d "${TMPDIR:-/tmp}/bypassd-one-nic.XXXXXX")
mkdir "$work/tftp"
head -c 20000000 /dev/urandom >"$work/tftp/image.bin"
head -c 8000000 /dev/urandom >"$work/bulk"
chmod 755 "$work" "$work/tftp"
chmod 644 "$work/tftp/image.bin"
ip netns add "$ns_server"
ip netns add "$ns_host"
ip link add nic0 netns "$ns_server" type veth peer name eth0 netns "$ns_host"
on_server ip link set lo up
for at in "$ns_server nic0" "$ns_host eth0"; do
    read -r ns link <<<"$at"
    ip netns exec "$ns" ethtool -K "$link" tx off rx off >/dev/null 2>&1 || true
    ip netns exec "$ns" ip link set "$link" up
done
# The kernel would see nothing of a NIC that is bound to DPDK; of this end of a cable it sees all, and must take none of it.
on_server sysctl -qw net.ipv4.conf.nic0.rp_filter=1 net.ipv4.conf.nic0.arp_ignore=8 net.ipv6.conf.nic0.disable_ipv6=1

step "bypassd on the NIC; the kernel owns $server on kern0"
ip netns exec "$ns_server" "$target/release/bypassd" run --vdev net_af_packet0,iface=nic0 --address $server/24 \
    --kernel-interface kern0 --root "$work/tftp" --control "$work/control" </dev/null >"$work/log" 2>&1 &
pids+=($!)
wait_for "bypassd is ready" "$work/log" '\bready\b'
on_server ip address add $server/24 dev kern0
on_server ip link set kern0 up

step "DHCP (dnsmasq) and a TCP service, on kern0"
ip netns exec "$ns_server" dnsmasq -k --port=0 -C /dev/null -uroot --interface=kern0 --bind-interfaces --pid-file= \
    --dhcp-leasefile="$work/leases" --log-facility=- --dhcp-range=10.99.0.100,10.99.0.150,255.255.255.0,1h \
    --dhcp-boot="image.bin,,$server" </dev/null >"$work/dnsmasq.log" 2>&1 &
pids+=($!)
wait_for "dnsmasq is ready" "$work/dnsmasq.log" 'DHCP, IP range'
ip netns exec "$ns_server" /usr/bin/python3 -m http.server --bind $server --directory "$work" 8080 </dev/null >"$work/http.log" 2>&1 &
pids+=($!)
for _ in $(seq 100); do on_server ss -Hltn 'sport = :8080' | grep -q . && break; sleep 0.1; done

step "The host asks for an address (busybox udhcpc)"
cat >"$work/lease.sh" <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add "$ip/$mask" dev "$interface"
echo "$siaddr $boot_file" >"$LEASE"
echo "got $ip, next server $siaddr, boot file $boot_file"
END
chmod 755 "$work/lease.sh"
on_host env LEASE="$work/lease" busybox udhcpc -f -q -n -t 8 -T 1 -i eth0 -s "$work/lease.sh"
read -r next file <"$work/lease"

step "ARP and ping: the kernel answers"
on_host ping -n -c 3 -i 0.2 "$next"

step "TFTP by bypassd, and TCP by the kernel, at the same time"
on_host curl -sS -o "$work/bulk.got" "http://$next:8080/bulk" &
tcp=$!
on_host curl -sS --tftp-blksize 1428 -o "$work/image.got" "tftp://$next/$file" -w '  TFTP: %{size_download} bytes, %{speed_download} bytes/s\n'
wait "$tcp" || fail "TCP failed"
cmp "$work/tftp/image.bin" "$work/image.got" || fail "the file that came by TFTP is wrong"
cmp "$work/bulk" "$work/bulk.got" || fail "the bytes that came over TCP are wrong"
echo "  TCP: 8000000 bytes; both are byte for byte as they were sent"

step "What bypassd counted"
control show stats

if $keep; then
    trap - EXIT INT TERM
    step "It goes on running"
    cat <<END
  On the host:   ip netns exec $ns_host bash
  On the server: ip netns exec $ns_server bash
  Counters:      $target/release/bypassctl --control $work/control show stats
  Stop it:       kill ${pids[*]}; sleep 1; ip netns del $ns_host; ip netns del $ns_server; rm -r $work
END
    exit 0
fi
step "Done; everything is put back"
