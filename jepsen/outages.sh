#!/usr/bin/env bash
# How long nothing can be written, fault by fault, on Oarlock and on etcd: jepsen/outages.sh BIN_DIR
#
# One workload through etcd's API, one fault at a time, the servers in turn with the same seed, flags at their
# defaults but for the seed's draw. SECONDS_EACH (default 40) and FAULTS may be set. Histories and reports are
# kept below STORE, which must be empty or absent; the table at the end has one row for each fault and server.
set -euo pipefail
bin=$(cd "${1:?directory of oarlockd and oarlock-jepsen}" && pwd)
cd "$(dirname "$0")/.."
found=$(tests/conformance/peers.sh etcd)
eval "export $found"
store=${STORE:-$HOME/.cache/oarlock/outages}
seconds=${SECONDS_EACH:-40}
faults=${FAULTS:-kill-leader pause-leader pause-long partition-leader mute-leader deaf-leader partition-minority bridge
  ring partition-one kill-random kill-majority kill-all stalled-disk hung-disk slow-disk power-cut power-cut-all
  slow-links lossy-links reordering duplicates throttled transfer compaction snapshots rolling-restart}

if [ -n "$(ls -A "$store" 2>/dev/null)" ]; then
  echo "$store is not empty: move it away, or name another directory in STORE" >&2
  exit 2
fi
seed=$(date +%s)
worst=0
for fault in $faults; do
  for server in oarlock etcd; do
    "$bin/oarlock-jepsen" run --workload register --nemesis "$fault" --api etcd --server "$server" --seed "$seed" \
      --time "${seconds}s" --fault-lasts 5s --fault-pause 3s --store "$store" || worst=$?
  done
  seed=$((seed + 1))
done
"$bin/oarlock-jepsen" report "$store"
exit "$worst"
