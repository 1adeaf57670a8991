#!/usr/bin/env bash
# etcd and Oarlock through etcd's API, in one run, by one program: bench/compare_etcd.sh BIN_DIR
#
# Three nodes of each on loopback, fsync on, flags at their defaults. For each number of clients the
# two servers are measured in turn, in several rounds, so that whatever else happens on the machine
# happens to both; an idle cluster only sends heartbeats. Values of 256 bytes, 10,000 keys, linearizable
# reads. CPU is the time that the three servers of a cluster used, from /proc, for each operation.
# SECONDS_EACH (default 6), ROUNDS (default 2) and CLIENTS (default "1 64 256") may be set.
set -euo pipefail
bin=$(cd "${1:?directory of oarlockd and oarlock}" && pwd)
cd "$(dirname "$0")/.."
cluster=tests/conformance/cluster.sh
found=$(tests/conformance/peers.sh etcd)
eval "export $found"
export OARLOCKD=$bin/oarlockd
seconds=${SECONDS_EACH:-6} rounds=${ROUNDS:-2} clients=${CLIENTS:-1 64 256}
dir=$(mktemp -d)
trap 'for s in etcd oarlock; do [ ! -f "$dir/$s/kind" ] || $cluster stop "$dir/$s"; done; rm -rf "$dir"' EXIT
$cluster start etcd "$dir/etcd" --logger=zap --log-level=error
$cluster start oarlock "$dir/oarlock"

bench() { # server, arguments of `oarlock bench`
  local server=$1
  shift
  "$bin/oarlock" --endpoints "$($cluster endpoints "$dir/$server")" --output json \
    bench "$@" --api etcd --pids "$($cluster pids "$dir/$server")"
}

figure() { sed -nE "s/.*\"$1\":([0-9.]+).*/\\1/p"; }

for server in etcd oarlock; do bench $server fill --clients 64 >/dev/null; done
for kind in put get; do
  for count in $clients; do
    for _ in $(seq "$rounds"); do
      for server in etcd oarlock; do
        line=$(bench $server $kind --clients "$count" --seconds "$seconds" --warm-up 1)
        echo "$kind $count $server" \
          "$(figure per_second <<<"$line") $(figure p50 <<<"$line") $(figure p99 <<<"$line")" \
          "$(figure server_cpu_us_per_operation <<<"$line") $(figure errors <<<"$line")" \
          "$(figure server_resident_mib <<<"$line")"
      done
    done
  done
done | awk '
  { cell = $1 " " $2 " " $3
    if (!(cell in runs)) order[++cells] = cell
    runs[cell]++; rate[cell] += $4; half[cell] += $5; high[cell] += $6; cpu[cell] += $7; bad[cell] += $8; memory[cell] = $9 }
  END {
    print "| operation | clients | server | /s | p50 µs | p99 µs | server CPU µs/op | resident MiB | errors |"
    print "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for (i = 1; i <= cells; i++) {
      cell = order[i]; n = runs[cell]; split(cell, part, " ")
      printf "| %s | %s | %s | %.0f | %.0f | %.0f | %.1f | %s | %d |\n", (part[1] == "get" ? "linearizable get" : "put"),
        part[2], part[3], rate[cell] / n, half[cell] / n, high[cell] / n, cpu[cell] / n, memory[cell], bad[cell]
    }
  }'
