#!/usr/bin/env bash
# First figures against a fresh three-node cluster on loopback: bench/first_figures.sh BIN_DIR [flags]
# The flags go to `oarlock bench figures`. Prints a Markdown table.
set -euo pipefail
bin=${1:?directory of oarlockd and oarlock}
shift
cd "$(dirname "$0")/.."
OARLOCK_CLUSTER_DIR=$(mktemp -d)
export OARLOCK_CLUSTER_DIR
trap 'deploy/cluster.sh stop "$bin" >/dev/null; rm -rf "$OARLOCK_CLUSTER_DIR"' EXIT
deploy/cluster.sh start "$bin" >/dev/null
export OARLOCK_ENDPOINTS=http://127.0.0.1:2379,http://127.0.0.1:22379,http://127.0.0.1:32379
pids=$(cat "$OARLOCK_CLUSTER_DIR"/n?.pid | paste -sd,)
"$bin/oarlock" bench figures --pids "$pids" "$@"
