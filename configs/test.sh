#!/usr/bin/env bash
# Runs all tests, stops at the first section that fails, and ends with one line: N passed, N failed.
set -uo pipefail

usage() {
    cat <<'END'
Usage: configs/test.sh [--quick | --e2e] [--no-setup]

  (nothing)    set the machine up and run everything
  --quick      everything but the end-to-end tests
  --e2e        only the release build and the end-to-end tests
  --no-setup   do not install anything
  -h           this text

The end-to-end tests need root (network namespaces, taps). `pytest configs/e2e -k WORDS` runs some of them;
`pytest configs/e2e --peer dnsmasq` runs them against a stock server (configs/setup.sh --peers).
END
}

checks=true e2e=true setup=true
for arg in "$@"; do
    case $arg in
        --quick) e2e=false ;;
        --e2e) checks=false ;;
        --no-setup) setup=false ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
$checks || $e2e || { usage >&2; exit 2; }

cd "$(dirname "$0")/.." || exit 2
export PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin" CARGO_TERM_COLOR=never
passed=0 failed=0 began=$SECONDS
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

finish() {
    printf '\n%s passed, %s failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ]
    exit
}

# Adds up the results of cargo test, nextest and pytest in the log; a section without such lines is one test.
count() {
    local status=$1 sums
    sums=$(awk '
        /^test result: / { p += $4; f += $6; n++ }
        /^ *Summary \[/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i - 1); if ($i ~ /^failed/) f += $(i - 1) } n++ }
        /^(=+ )?[0-9]+ (passed|failed|skipped|error).* in [0-9.]+s/ {
            for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i - 1); if ($i ~ /^(failed|errors?),?$/) f += $(i - 1) } n++ }
        END { print p + 0, f + 0, n + 0 }' "$log")
    read -r p f n <<<"$sums"
    if [ "$n" -eq 0 ]; then p=$((status == 0)) f=0; fi
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    passed=$((passed + p)) failed=$((failed + f))
}

# section TITLE COMMAND...: runs a command, shows its output, counts its tests, ends everything when it fails.
section() {
    local title=$1 start=$SECONDS status
    shift
    printf '\n=== %s\n' "$title"
    "$@" </dev/null 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    count "$status"
    if [ "$status" -ne 0 ]; then
        printf -- '--- FAILED after %s s: %s\n    repeat with: %s\n' $((SECONDS - start)) "$title" "$(printf '%q ' "$@")"
        finish
    fi
    printf -- '--- ok, %s s\n' $((SECONDS - start))
}

skip() { printf '\n=== %s\n--- skipped: %s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null; }

if $setup; then
    section "Set-up: install what is missing" configs/setup.sh
else
    section "Set-up: look for what is missing" configs/setup.sh --check
fi

if $checks; then
    section "Format" cargo fmt --all --check
    section "Lints" cargo clippy --workspace --all-targets --locked -- -D warnings
    section "Lints, dataplane without DPDK" cargo clippy -p dataplane --no-default-features --all-targets --locked -- -D warnings
    section "Documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
    section "Tests, dataplane without DPDK" cargo test -p dataplane --no-default-features --locked --quiet
    if have cargo-nextest; then
        section "Tests" cargo nextest run --workspace --locked --no-fail-fast --status-level fail --final-status-level fail
        section "Tests in the documentation" cargo test --workspace --doc --locked --quiet
    else
        section "Tests" cargo test --workspace --locked --quiet --no-fail-fast
    fi
    if have valgrind; then
        section "Instruction counts" configs/gate.sh
        section "Instruction counts: the gate can fail" configs/gate.sh --self-test
    else
        skip "Instruction counts" "no valgrind"
    fi
    if have cargo-deny; then
        section "Dependencies: licences, bans, sources" cargo deny --offline --locked check licenses bans sources
        if compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-db*/*/*" >/dev/null; then
            section "Dependencies: advisories" cargo deny --offline --locked check advisories
        else
            skip "Dependencies: advisories" "the database is not here (cargo deny fetch)"
        fi
    else
        skip "Dependencies" "cargo-deny is not installed (configs/setup.sh)"
    fi
    if have cargo-deb && have dpkg-shlibdeps; then
        section "Debian package" configs/package.sh --quick
    else
        skip "Debian package" "cargo-deb or dpkg-dev is not installed (configs/setup.sh)"
    fi
    if have typos; then section "Spelling" typos; else skip "Spelling" "typos is not installed (configs/setup.sh)"; fi
    scripts=(configs/*.sh configs/debian/postinst .ci/run)
    for script in "${scripts[@]}"; do section "Shell syntax: $script" bash -n "$script"; done
    if have shellcheck; then section "Shell scripts" shellcheck "${scripts[@]}"; else skip "Shell scripts" "no shellcheck"; fi
fi

if $e2e; then
    section "Release build" cargo build --release --locked
    if [ "$(id -u)" -eq 0 ]; then
        section "End to end" /usr/bin/python3 -B -m pytest -q -x --durations=10 configs/e2e
    else
        section "End to end (as root)" sudo --preserve-env=PATH,CARGO_TARGET_DIR /usr/bin/python3 -B -m pytest -q -x --durations=10 configs/e2e
    fi
fi

printf '\nAll sections ended well after %s s.' $((SECONDS - began))
finish
