#!/usr/bin/env bash
# Three nodes of one server on loopback, for the conformance suites:
#
#   cluster.sh start etcd|oarlock DIR [flag...]   start a new cluster with its data below DIR
#   cluster.sh stop DIR                           stop what runs, by process id
#   cluster.sh kill DIR N | restart DIR N         SIGKILL node N (1 to 3), start it again
#   cluster.sh endpoints DIR | pids DIR           client URLs or process ids, joined by commas
#
# ETCD names the etcd binary and OARLOCKD the oarlockd binary. Both servers are given the same flags.
set -euo pipefail

action=${1:?start, stop, kill, restart, endpoints or pids}
shift

client_port() { echo $((base + 2 * $1)); }
peer_port() { echo $((base + 2 * $1 + 1)); }
client_url() { echo "http://127.0.0.1:$(client_port "$1")"; }
peer_url() { echo "http://127.0.0.1:$(peer_port "$1")"; }
join_by_comma() { local IFS=,; echo "$*"; }
in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The first of eight neighbouring ports that nobody listens on.
free_base() {
  local candidate port
  for candidate in $(shuf -i 2100-3100 -n 50); do
    candidate=$((candidate * 10))
    for port in $(seq $candidate $((candidate + 7))); do in_use "$port" && continue 2; done
    echo "$candidate"
    return
  done
  echo "no free ports between 21000 and 31000" >&2
  return 1
}

load() { # DIR
  dir=${1:?directory of the cluster}
  kind=$(cat "$dir/kind")
  base=$(cat "$dir/base")
  mapfile -t flags <"$dir/flags"
}

start_node() { # N
  local n=$1 binary members=()
  case $kind in
    etcd) binary=${ETCD:?path of the etcd binary} ;;
    oarlock) binary=${OARLOCKD:?path of the oarlockd binary} ;;
    *) echo "unknown server: $kind (etcd or oarlock)" >&2; return 2 ;;
  esac
  for m in 1 2 3; do members+=("n$m=$(peer_url "$m")"); done
  setsid "$binary" --name "n$n" --data-dir "$dir/n$n" \
    --listen-client-urls "$(client_url "$n")" --advertise-client-urls "$(client_url "$n")" \
    --listen-peer-urls "$(peer_url "$n")" --initial-advertise-peer-urls "$(peer_url "$n")" \
    --initial-cluster "$(join_by_comma "${members[@]}")" \
    --initial-cluster-token conformance --initial-cluster-state new "${flags[@]}" \
    >>"$dir/n$n.log" 2>&1 </dev/null &
  echo $! >"$dir/n$n.pid"
}

running() { [ -f "$dir/n$1.pid" ] && kill -0 "$(cat "$dir/n$1.pid")" 2>/dev/null; }

wait_ready() { # N...
  local n deadline=$((SECONDS + 60))
  for n in "$@"; do
    until curl -fsS -m 1 "$(client_url "$n")/readyz" >/dev/null 2>&1; do
      if ! running "$n" || [ $SECONDS -ge $deadline ]; then
        echo "$kind: n$n does not serve; the last lines of $dir/n$n.log:" >&2
        tail -n 5 "$dir/n$n.log" >&2
        return 1
      fi
      sleep 0.2
    done
  done
}

stop_node() { # N SIGNAL
  running "$1" || { rm -f "$dir/n$1.pid"; return 0; }
  local pid
  pid=$(cat "$dir/n$1.pid")
  kill "-$2" "$pid" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$dir/n$1.pid"
}

case $action in
  start)
    kind=${1:?etcd or oarlock}
    dir=${2:?directory of the cluster}
    shift 2
    mkdir -p "$dir"
    base=$(free_base)
    echo "$kind" >"$dir/kind"
    echo "$base" >"$dir/base"
    [ $# -eq 0 ] && : >"$dir/flags" || printf '%s\n' "$@" >"$dir/flags"
    load "$dir"
    for n in 1 2 3; do start_node $n; done
    wait_ready 1 2 3 || { for n in 1 2 3; do stop_node $n KILL; done; exit 1; }
    ;;
  stop) load "$@"; for n in 1 2 3; do stop_node $n TERM; done ;;
  kill) load "$@"; stop_node "${2:?number of the node}" KILL ;;
  restart) load "$@"; start_node "${2:?number of the node}"; wait_ready "$2" ;;
  endpoints) load "$@"; join_by_comma $(for n in 1 2 3; do client_url $n; done) ;;
  pids) load "$@"; join_by_comma $(cat "$dir"/n?.pid) ;;
  *) echo "unknown action: $action" >&2; exit 2 ;;
esac
