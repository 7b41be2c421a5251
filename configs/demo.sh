#!/usr/bin/env bash
# Shows the main job: bypassd on a DPDK tap serves two files to stock clients. Leaves the machine as it was.
set -Eeuo pipefail

usage() {
    cat <<'END'
Usage: configs/demo.sh [--keep] [--no-setup]

Installs what is missing, builds, starts bypassd on net_tap in a network namespace of its own, fetches a small and a
50 MB file with stock TFTP clients, compares checksums, and stops it again. Needs root (or sudo) for namespace and tap.

  --keep       leave bypassd running and say how to use and how to stop it
  --no-setup   do not look for missing packages
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
server=10.99.0.1 client=10.99.0.2 pages=256
pages_file=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
namespace=bypassd-demo-$$
pid='' work='' pages_before='' mounted=false made_mount_point=false made_namespace=false

if [ -t 1 ]; then bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'; else bold='' red='' plain=''; fi
step() { printf '\n%s==> %s%s\n' "$bold" "$*" "$plain"; }
fail() { printf '%sdemo: %s%s\n' "$red" "$*" "$plain" >&2; exit 1; }
inside() { ip netns exec "$namespace" "$@"; }
control() { "$target/release/bypassctl" --control "$work/control" "$@"; }

# Puts everything back; also after an error or Ctrl-C. Runs once.
# shellcheck disable=SC2317  # called by the trap
clean_up() {
    local status=$?
    trap - EXIT INT TERM
    set +e
    if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
        kill -TERM "$pid" && sleep 0.2
        kill -TERM "$pid" 2>/dev/null # a second signal stops at once
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    fi
    if [ $status -ne 0 ] && [ -s "$work/log" ]; then
        printf '\nThe last lines of bypassd:\n'
        tail -n 20 "$work/log"
    fi
    $made_namespace && ip netns del "$namespace"
    $mounted && umount /dev/hugepages
    $made_mount_point && rmdir /dev/hugepages
    [ -n "$pages_before" ] && echo "$pages_before" >"$pages_file"
    [ -n "$work" ] && rm -rf "$work"
    exit $status
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if $setup; then
    step "Look for what is missing, and install it (configs/setup.sh)"
    "$repo/configs/setup.sh" --no-tools
fi

step "Build (cargo build --release)"
(cd "$repo" && cargo build --release --locked)

step "Reserve memory: $pages hugepages of 2 MiB, given back at the end"
work=$(mktemp -d "${TMPDIR:-/tmp}/bypassd-demo.XXXXXX")
chmod 755 "$work"
huge=()
if [ -w "$pages_file" ]; then
    pages_before=$(cat "$pages_file")
    [ "$pages_before" -ge $pages ] || echo $pages >"$pages_file" || true
fi
if [ -n "$pages_before" ] && [ "$(cat "$pages_file")" -ge $pages ]; then
    if ! grep -q hugetlbfs /proc/mounts; then
        [ -d /dev/hugepages ] || { mkdir /dev/hugepages; made_mount_point=true; }
        mount -t hugetlbfs -o pagesize=2M nodev /dev/hugepages
        mounted=true
    fi
    echo "$(cat "$pages_file") pages are there."
else
    huge=(-- --no-huge)
    echo "This machine gives none: going on with ordinary memory."
fi

step "Make the files to serve"
mkdir "$work/tftp" "$work/got"
printf 'Served from a poll-mode lcore.\n' >"$work/tftp/hello.txt"
head -c 50000000 /dev/urandom >"$work/tftp/image.bin"
chmod 644 "$work/tftp"/*
ls -l "$work/tftp"

step "Start bypassd on net_tap in the namespace $namespace"
ip netns add "$namespace"
made_namespace=true
inside ip link set lo up
cores=0-1
[ "$(nproc)" -gt 1 ] || cores=0
command=("$target/release/bypassd" run --vdev "net_tap0,iface=bypass0" --address "$server/24"
    --root "$work/tftp" --control "$work/control" -l "$cores" "${huge[@]}")
printf '%s\n' "${command[*]}"
# In a session of its own: Ctrl-C and a closed terminal are for this script to handle.
setsid ip netns exec "$namespace" "${command[@]}" >"$work/log" 2>&1 </dev/null &
pid=$!
for _ in $(seq 200); do
    grep -qw ready "$work/log" && break
    kill -0 "$pid" 2>/dev/null || fail "bypassd ended before it was ready"
    sleep 0.1
done
grep -w ready "$work/log" || fail "bypassd was not ready within 20 s"
inside ip address add $client/24 dev bypass0
inside ip link set bypass0 up

# fetch HOW FILE CLIENT...: runs a client in the namespace, compares checksums, and says how fast it was.
fetch() {
    local how=$1 file=$2 begin end bytes
    shift 2
    rm -f "$work/got/$file"
    begin=$(date +%s%N)
    inside "$@" </dev/null >"$work/client.log" 2>&1 || { cat "$work/client.log"; fail "$how: $1 failed"; }
    end=$(date +%s%N)
    bytes=$(stat -c %s "$work/got/$file")
    cmp -s "$work/tftp/$file" "$work/got/$file" || fail "$how: the checksum of $file is wrong"
    awk -v how="$how" -v file="$file" -v bytes="$bytes" -v ns=$((end - begin)) -v sum="$(sha256sum <"$work/got/$file" | cut -c1-12)" \
        'BEGIN { printf "  %-34s %-10s %9d bytes  %7.3f s  %8.1f MB/s  sha256 %s… equal\n", how, file, bytes, ns / 1e9, bytes * 1e3 / ns, sum }'
}

step "Fetch the small file"
fetch "tftp-hpa (512, plain)" hello.txt tftp -m binary $server -c get hello.txt "$work/got/hello.txt"
fetch "atftp (1428, window 16)" hello.txt atftp --option "blksize 1428" --option "windowsize 16" -g -r hello.txt -l "$work/got/hello.txt" $server 69
fetch "curl (512, plain)" hello.txt curl -sS -o "$work/got/hello.txt" tftp://$server/hello.txt

step "Fetch the 50 MB file"
fetch "tftp-hpa (512, plain, rolls over)" image.bin tftp -m binary $server -c get image.bin "$work/got/image.bin"
fetch "curl (1428, plain)" image.bin curl -sS --tftp-blksize 1428 -o "$work/got/image.bin" tftp://$server/image.bin
fetch "atftp (1428, window 16)" image.bin atftp --option "blksize 1428" --option "windowsize 16" -g -r image.bin -l "$work/got/image.bin" $server 69

step "What bypassd counted (bypassctl show stats)"
control show stats

if $keep; then
    trap - EXIT INT TERM
    step "bypassd goes on running (pid $pid)"
    cat <<END
  Fetch:   ip netns exec $namespace curl -O tftp://$server/hello.txt
  Look:    $target/release/bypassctl --control $work/control show sessions
  Log:     $work/log
  Stop, and put everything back:
           kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done; ip netns del $namespace; rm -r $work$(
        $mounted && printf '; umount /dev/hugepages'
        $made_mount_point && printf '; rmdir /dev/hugepages'
        [ -z "$pages_before" ] || printf '; echo %s >%s' "$pages_before" "$pages_file"
    )
END
    exit 0
fi

step "Stop it (SIGTERM): transfers end, workers are counted out, ports close"
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
pid=''
tail -n 3 "$work/log"
[ $status -eq 0 ] || fail "bypassd ended with status $status"
echo "bypassd ended with status 0."
step "Done: every checksum is equal, and the machine is as it was"
