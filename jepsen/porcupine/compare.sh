#!/usr/bin/env bash
# compare.sh BIN_DIR: compares the verdicts of our search for an order with porcupine's, on porcupine's
# own Jepsen logs of etcd and on logs that we make. BIN_DIR holds the example `porcupine`, built by
# `cargo build --release -p oarlock-jepsen --example porcupine`: target/release/examples.
set -euo pipefail
[ $# -eq 1 ] || { echo "say where the example porcupine is: compare.sh target/release/examples" >&2; exit 2; }
ours=$(cd "$1" && pwd)/porcupine
made=${MADE:-2000}
cd "$(dirname "$0")"
if ! command -v go >/dev/null; then
    echo "skipped: porcupine is a Go program, and there is no Go here"
    exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
go build -o "$scratch/porcupine" .
logs=$(go list -m -f '{{.Dir}}' github.com/anishathalye/porcupine)/test_data/jepsen
mkdir "$scratch/made"
"$ours" make "$scratch/made" "$made"
for set in "$logs" "$scratch/made"; do
    find "$set" -name '*.log' | sort >"$scratch/files"
    xargs "$scratch/porcupine" <"$scratch/files" >"$scratch/theirs.txt"
    xargs "$ours" judge <"$scratch/files" >"$scratch/ours.txt"
    if ! diff "$scratch/theirs.txt" "$scratch/ours.txt"; then
        echo "porcupine (<) and we (>) do not agree" >&2
        exit 1
    fi
    count() { grep -c "^$1" "$scratch/ours.txt" || true; }
    echo "$(basename "$set"): $(wc -l <"$scratch/files") logs, the same verdicts: $(count Ok) linearizable, $(count Illegal) not, $(count Unknown) undecided"
done
