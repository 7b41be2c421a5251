#!/usr/bin/env bash
# Counts the dataplane's instructions per packet under callgrind and compares them with benches/baseline/instructions.json.
set -euo pipefail

usage() {
    cat <<'END'
Usage: configs/gate.sh [--accept | --only NAME | --annotate NAME | --self-test]

  (nothing)        count all scenarios and compare; exit status 1 when one is more than 1 % above the baseline
  --accept         count, and make the result the new baseline
  --only NAME      count and compare one scenario, such as ack_data_512
  --annotate NAME  count one scenario and say which functions the instructions are in, for all its packets together
  --self-test      show that the gate can fail: compare the last counts with changed baselines, look at the exit statuses
  -h, --help       this text

A count is exact: it compares only with one of the same compilers, libraries and Valgrind. Where they differ from the baseline's,
the table ends with `skipped: ...` and the exit status is 0.
Needs no root, hugepages or NIC; Valgrind is needed (configs/setup.sh).
END
}

cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin"
gate() { cargo bench --locked --quiet -p bypassbench --bench instructions -- "$@" || exit 1; }

case ${1-} in
    -h | --help) usage ;;
    --annotate)
        [ $# -eq 2 ] || { usage >&2; exit 2; }
        gate --only "$2"
        callgrind_annotate --show-percs=yes "${CARGO_TARGET_DIR:-target}/tmp/gate/$2.callgrind"
        ;;
    *) gate "$@" ;;
esac
