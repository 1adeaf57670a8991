#!/usr/bin/env bash
# Locks of Oarlock, etcd and ZooKeeper in one run: bench/compare_locks.sh BIN_DIR
#
# Three nodes of each on loopback, fsync on, flags at their defaults. Each contender has a session and a
# connection of its own. Alone: every contender has its own lock. Contended: all share one. The servers
# are measured in turn, in several rounds. Oarlock is asked through its native API and through etcd's
# Lock service, etcd through its Lock service, ZooKeeper through Curator's InterProcessMutex.
# SECONDS_EACH (default 6), ROUNDS (default 2) and CONTENDERS (default "1 64") may be set. What cannot be
# built or started is left out, and the script says so. Consul is left out: no registry has its server.
set -euo pipefail
bin=$(cd "${1:?directory of oarlockd and oarlock}" && pwd)
cd "$(dirname "$0")/.."
cluster=tests/conformance/cluster.sh
found=$(tests/conformance/peers.sh etcd)
eval "export $found"
export OARLOCKD=$bin/oarlockd
java=$HOME/.cache/oarlock/bench/curator
seconds=${SECONDS_EACH:-6} rounds=${ROUNDS:-2} contenders=${CONTENDERS:-1 64}
dir=$(mktemp -d)
zookeepers=()
finish() {
  for server in etcd oarlock; do [ ! -f "$dir/$server/kind" ] || $cluster stop "$dir/$server"; done
  [ ${#zookeepers[@]} -eq 0 ] || kill "${zookeepers[@]}" 2>/dev/null || true
  wait
  rm -rf "$dir"
}
trap finish EXIT

build_curator() {
  command -v javac >/dev/null || return 1
  ZOOKEEPER_JARS=$java/lib tests/conformance/peers.sh zookeeper >/dev/null || return 1
  mkdir -p "$java/classes"
  javac -cp "$java/lib/*" -d "$java/classes" bench/curator/src/main/java/bench/Locks.java
}
start_zookeeper() {
  local node
  for node in 1 2 3; do
    mkdir -p "$dir/zookeeper/$node"
    echo $node >"$dir/zookeeper/$node/myid"
    {
      printf 'tickTime=2000\ninitLimit=10\nsyncLimit=5\nadmin.enableServer=false\nmaxClientCnxns=0\n'
      printf 'dataDir=%s\nclientPort=%s\nclientPortAddress=127.0.0.1\n' "$dir/zookeeper/$node" $((23180 + node))
      for peer in 1 2 3; do echo "server.$peer=127.0.0.1:$((23280 + peer)):$((23380 + peer))"; done
    } >"$dir/zookeeper/$node.cfg"
    java -Xmx512m -cp "$java/lib/*" org.apache.zookeeper.server.quorum.QuorumPeerMain "$dir/zookeeper/$node.cfg" \
      >"$dir/zookeeper/$node.log" 2>&1 &
    zookeepers+=($!)
  done
}
servers=(oarlock oarlock-etcd etcd)
if build_curator >&2; then
  start_zookeeper
  servers+=(zookeeper)
else
  echo "ZooKeeper is left out: Maven, a JDK or its packages are missing" >&2
fi
$cluster start etcd "$dir/etcd" --logger=zap --log-level=error
$cluster start oarlock "$dir/oarlock"
sleep 8 # until ZooKeeper serves

figure() { sed -nE "s/.*\"$1\":\"?([0-9.]+).*/\\1/p"; }
note() { sed -nE "s/.*\\[\"$1\",\"([0-9.]+)\"\\].*/\\1/p"; }
cpu() { # pids: clock ticks of 10 ms that they used so far
  local sum=0 pid
  for pid in "$@"; do sum=$((sum + $(awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat"))); done
  echo $sum
}
bench() { # server, contenders, locks: rate, acquire p50 and p99, hand-over p50 and p99, CPU per acquire
  local line
  if [ "$1" = zookeeper ]; then
    local before
    before=$(cpu "${zookeepers[@]}")
    line=$(java -cp "$java/lib/*:$java/classes" bench.Locks 127.0.0.1:23181,127.0.0.1:23182,127.0.0.1:23183 \
      "$2" "$3" "$seconds" 2 2>/dev/null)
    echo "$(figure per_second <<<"$line") $(figure acquire_p50_us <<<"$line") $(figure acquire_p99_us <<<"$line")" \
      "$(figure handover_p50_us <<<"$line") $(figure handover_p99_us <<<"$line")" \
      "$(awk -v ticks=$(($(cpu "${zookeepers[@]}") - before)) -v rate="$(figure per_second <<<"$line")" \
        -v seconds=$((seconds + 2)) 'BEGIN { printf "%.0f", (rate > 0 ? ticks * 10000 / (rate * seconds) : 0) }')"
    return
  fi
  local kind=${1%-etcd} api=native
  [ "$1" = oarlock ] || api=etcd
  line=$("$bin/oarlock" --endpoints "$($cluster endpoints "$dir/$kind")" --output json bench locks --api $api \
    --contenders "$2" --locks "$3" --seconds "$seconds" --pids "$($cluster pids "$dir/$kind")")
  echo "$(figure per_second <<<"$line") $(figure p50 <<<"$line") $(figure p99 <<<"$line")" \
    "$(note handover_p50_us <<<"$line" | grep . || echo 0) $(note handover_p99_us <<<"$line" | grep . || echo 0)" \
    "$(figure server_cpu_us_per_operation <<<"$line")"
}

for count in $contenders; do
  for locks in "$count" 1; do
    [ "$count" != 1 ] || [ "$locks" = "$count" ] || continue
    for _ in $(seq "$rounds"); do
      for server in "${servers[@]}"; do echo "$count $locks $server $(bench "$server" "$count" "$locks")"; done
    done
    [ "$count" != 1 ] || break
  done
done | awk '
  { cell = $1 " " $2 " " $3
    if (!(cell in runs)) order[++cells] = cell
    runs[cell]++; for (i = 4; i <= 9; i++) sum[cell, i] += $i }
  END {
    print "| contenders | locks | server | acquires/s | acquire p50 µs | p99 µs | hand-over p50 µs | p99 µs | server CPU µs |"
    print "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for (c = 1; c <= cells; c++) {
      cell = order[c]; split(cell, part, " ")
      printf "| %s | %s | %s |", part[1], part[2], part[3]
      for (i = 4; i <= 9; i++) {
        value = sum[cell, i] / runs[cell]
        if ((i == 7 || i == 8) && value == 0) printf " - |"; else printf " %.0f |", value
      }
      print ""
    }
  }'
