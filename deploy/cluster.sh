#!/usr/bin/env bash
# Starts or stops three nodes on loopback: deploy/cluster.sh start|stop|status BIN_DIR
# Data and logs are in $OARLOCK_CLUSTER_DIR (default: ~/.cache/oarlock/cluster).
set -euo pipefail

action=${1:?start, stop or status}
bin=${2:?directory of oarlockd and oarlock}
dir=${OARLOCK_CLUSTER_DIR:-$HOME/.cache/oarlock/cluster}
endpoints=http://127.0.0.1:2379,http://127.0.0.1:22379,http://127.0.0.1:32379
members="n1=http://127.0.0.1:2380,n2=http://127.0.0.1:22380,n3=http://127.0.0.1:32380"

running() { [ -f "$dir/$1.pid" ] && kill -0 "$(cat "$dir/$1.pid")" 2>/dev/null; }

start_node() { # name, client port, peer port
  if running "$1"; then echo "$1 runs already (pid $(cat "$dir/$1.pid"))"; return; fi
  setsid "$bin/oarlockd" --name "$1" --data-dir "$dir/$1" \
    --listen-client-urls "http://127.0.0.1:$2" --advertise-client-urls "http://127.0.0.1:$2" \
    --listen-peer-urls "http://127.0.0.1:$3" --initial-advertise-peer-urls "http://127.0.0.1:$3" \
    --initial-cluster "$members" --initial-cluster-token make-cluster --initial-cluster-state new \
    >>"$dir/$1.log" 2>&1 </dev/null &
  echo $! >"$dir/$1.pid"
}

wait_ready() { # client port
  for _ in $(seq 150); do
    if curl -fsS -m 2 "http://127.0.0.1:$1/readyz" >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  echo "the node on port $1 did not become ready within 30 s; its log is in $dir" >&2
  exit 1
}

case $action in
  start)
    mkdir -p "$dir"
    start_node n1 2379 2380
    start_node n2 22379 22380
    start_node n3 32379 32380
    for port in 2379 22379 32379; do wait_ready $port; done
    cat <<END
Three nodes serve. Data and logs: $dir

  export OARLOCK_ENDPOINTS=$endpoints
  export PATH=$bin:\$PATH
  oarlock status
  oarlock put /greeting hello
  oarlock get /greeting
  oarlock watch --prefix /           # in another terminal

Stop them with: make stop
END
    ;;
  stop)
    for name in n1 n2 n3; do
      if running $name; then
        pid=$(cat "$dir/$name.pid")
        kill "$pid"
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -0 "$pid" 2>/dev/null && kill -9 "$pid"
        echo "$name stopped"
      fi
      rm -f "$dir/$name.pid"
    done
    ;;
  status)
    for name in n1 n2 n3; do running $name && echo "$name runs" || echo "$name is stopped"; done
    ;;
  *)
    echo "unknown action: $action (start, stop or status)" >&2
    exit 2
    ;;
esac
