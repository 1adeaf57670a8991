#!/usr/bin/env bash
# First figures against a fresh three-node cluster on loopback: bench/first_figures.sh BIN_DIR [flags]
# The flags go to `oarlock bench figures`. Prints a Markdown table. The cluster has ports of its own, so
# that one of `make cluster` may run beside it (and disturb the figures).
set -euo pipefail
bin=${1:?directory of oarlockd and oarlock}
shift
cd "$(dirname "$0")/.."
OARLOCK_CLUSTER_DIR=$(mktemp -d)
export OARLOCK_CLUSTER_DIR OARLOCK_CLUSTER_SHIFT=${OARLOCK_CLUSTER_SHIFT:-5000}
trap 'deploy/cluster.sh stop "$bin" >/dev/null; rm -rf "$OARLOCK_CLUSTER_DIR"' EXIT
deploy/cluster.sh start "$bin" >/dev/null
OARLOCK_ENDPOINTS=$(deploy/cluster.sh endpoints "$bin")
export OARLOCK_ENDPOINTS
pids=$(cat "$OARLOCK_CLUSTER_DIR"/n?.pid | paste -sd,)
"$bin/oarlock" bench figures --pids "$pids" "$@"
