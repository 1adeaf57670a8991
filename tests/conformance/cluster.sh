#!/usr/bin/env bash
# Some nodes of one server on loopback, for the conformance suites and the benchmarks:
#
#   cluster.sh start etcd|oarlock|zookeeper DIR [flag...]   start a new cluster with its data below DIR
#   cluster.sh stop DIR                           stop what runs, by process id
#   cluster.sh kill DIR N | restart DIR N         SIGKILL node N (from 1), start it again
#   cluster.sh restart-all DIR                    start all that do not run
#   cluster.sh endpoints DIR | pids DIR           client URLs or process ids, joined by commas
#   cluster.sh leader DIR                         the number of the node that leads
#
# ETCD names the etcd binary, OARLOCKD the oarlockd binary, ZOOKEEPER_JARS the directory of ZooKeeper's
# jars. NODES (default 3) is the number of nodes of a new cluster. etcd and Oarlock are given the same
# flags; flags of ZooKeeper are lines of its configuration.
set -euo pipefail

action=${1:?start, stop, kill, restart, restart-all, endpoints, pids or leader}
shift

client_port() { echo $((base + 3 * $1)); }
peer_port() { echo $((base + 3 * $1 + 1)); }
election_port() { echo $((base + 3 * $1 + 2)); }
client_url() { echo "http://127.0.0.1:$(client_port "$1")"; }
peer_url() { echo "http://127.0.0.1:$(peer_port "$1")"; }
join_by_comma() { local IFS=,; echo "$*"; }
in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The number before the first of so many neighbouring ports that nobody listens on.
free_base() { # nodes
  local candidate port
  for candidate in $(shuf -i 1050-1550 -n 50); do
    candidate=$((candidate * 20))
    for port in $(seq $((candidate + 3)) $((candidate + 3 * $1 + 2))); do in_use "$port" && continue 2; done
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
  nodes=$(seq "$(cat "$dir/nodes")")
  mapfile -t flags <"$dir/flags"
}

# A server in a session of its own, so that a signal from the terminal is not for it.
launch() { # N command...
  local n=$1
  shift
  setsid "$@" >>"$dir/n$n.log" 2>&1 </dev/null &
  echo $! >"$dir/n$n.pid"
}

start_node() { # N
  local n=$1 binary members=()
  case $kind in
    etcd) binary=${ETCD:?path of the etcd binary} ;;
    oarlock) binary=${OARLOCKD:?path of the oarlockd binary} ;;
    zookeeper) start_zookeeper "$n"; return ;;
    *) echo "unknown server: $kind (etcd, oarlock or zookeeper)" >&2; return 2 ;;
  esac
  for m in $nodes; do members+=("n$m=$(peer_url "$m")"); done
  launch "$n" "$binary" --name "n$n" --data-dir "$dir/n$n" \
    --listen-client-urls "$(client_url "$n")" --advertise-client-urls "$(client_url "$n")" \
    --listen-peer-urls "$(peer_url "$n")" --initial-advertise-peer-urls "$(peer_url "$n")" \
    --initial-cluster "$(join_by_comma "${members[@]}")" \
    --initial-cluster-token conformance --initial-cluster-state new "${flags[@]}"
}

# The heap is that of ZooKeeper's own start script, the times are those of its sample configuration.
start_zookeeper() { # N
  local n=$1
  mkdir -p "$dir/n$n"
  echo "$n" >"$dir/n$n/myid"
  {
    printf '%s\n' tickTime=2000 initLimit=10 syncLimit=5 admin.enableServer=false \
      "dataDir=$dir/n$n" "clientPort=$(client_port "$n")" clientPortAddress=127.0.0.1
    for m in $nodes; do echo "server.$m=127.0.0.1:$(peer_port "$m"):$(election_port "$m")"; done
    printf '%s\n' "${flags[@]}"
  } >"$dir/n$n.cfg"
  launch "$n" java -Xmx1000m -cp "${ZOOKEEPER_JARS:?directory of the jars}/*" \
    org.apache.zookeeper.server.quorum.QuorumPeerMain "$dir/n$n.cfg"
}

running() { [ -f "$dir/n$1.pid" ] && kill -0 "$(cat "$dir/n$1.pid")" 2>/dev/null; }

# What a ZooKeeper server says of itself; nothing while it does not serve.
srvr() { # N
  timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf srvr >&3 && cat <&3' "$(client_port "$1")" 2>/dev/null
}

ready() { # N
  if [ "$kind" = zookeeper ]; then
    srvr "$1" | grep '^Mode:' >/dev/null
  else
    curl -fsS -m 1 "$(client_url "$1")/readyz" >/dev/null 2>&1
  fi
}

leads() { # N
  if [ "$kind" = zookeeper ]; then
    srvr "$1" | grep '^Mode: leader' >/dev/null
  else
    curl -fsS -m 2 "$(client_url "$1")/metrics" 2>/dev/null | grep '^etcd_server_is_leader 1' >/dev/null
  fi
}

wait_ready() { # N...
  local n deadline=$((SECONDS + 60))
  for n in "$@"; do
    until ready "$n"; do
      if ! running "$n" || [ $SECONDS -ge $deadline ]; then
        echo "$kind: n$n does not serve; the last lines of $dir/n$n.log:" >&2
        tail -n 5 "$dir/n$n.log" >&2
        return 1
      fi
      sleep 0.2
    done
  done
}

leader() {
  local n deadline=$((SECONDS + 30))
  while [ $SECONDS -lt $deadline ]; do
    for n in $nodes; do leads "$n" && echo "$n" && return; done
    sleep 0.2
  done
  echo "$kind: nobody leads" >&2
  return 1
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
    kind=${1:?etcd, oarlock or zookeeper}
    dir=${2:?directory of the cluster}
    shift 2
    mkdir -p "$dir"
    base=$(free_base "${NODES:-3}")
    echo "$kind" >"$dir/kind"
    echo "$base" >"$dir/base"
    echo "${NODES:-3}" >"$dir/nodes"
    [ $# -eq 0 ] && : >"$dir/flags" || printf '%s\n' "$@" >"$dir/flags"
    load "$dir"
    # A signal comes through when the process id of every node is written down, so that `stop` finds all.
    trap : TERM INT HUP
    for n in $nodes; do start_node "$n"; done
    trap - TERM INT HUP
    wait_ready $nodes || { for n in $nodes; do stop_node "$n" KILL; done; exit 1; }
    ;;
  stop) load "$@"; for n in $nodes; do stop_node "$n" TERM; done ;;
  kill) load "$@"; stop_node "${2:?number of the node}" KILL ;;
  restart) load "$@"; start_node "${2:?number of the node}"; wait_ready "$2" ;;
  restart-all)
    load "$@"
    for n in $nodes; do running "$n" || start_node "$n"; done
    wait_ready $nodes ;;
  endpoints) load "$@"; join_by_comma $(for n in $nodes; do client_url "$n"; done) ;;
  pids) load "$@"; join_by_comma $(cat "$dir"/n?.pid) ;;
  leader) load "$@"; leader ;;
  *) echo "unknown action: $action" >&2; exit 2 ;;
esac
