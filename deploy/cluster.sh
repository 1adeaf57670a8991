#!/usr/bin/env bash
# Starts or stops three nodes on loopback: deploy/cluster.sh start|stop|status|endpoints BIN_DIR
# Data and logs are in $OARLOCK_CLUSTER_DIR (default: ~/.cache/oarlock/cluster). $OARLOCK_CLUSTER_SHIFT
# (default: 0) is added to all ports, so that a second cluster can run beside the first.
set -euo pipefail

action=${1:?start, stop, status or endpoints}
bin=${2:?directory of oarlockd and oarlock}
dir=${OARLOCK_CLUSTER_DIR:-$HOME/.cache/oarlock/cluster}
shift_by=${OARLOCK_CLUSTER_SHIFT:-0}
names=(n1 n2 n3)

client_port() { case $1 in n1) p=2379 ;; n2) p=22379 ;; n3) p=32379 ;; esac; echo $((p + shift_by)); }
peer_port() { echo $(($(client_port "$1") + 1)); }
join_by_comma() { local IFS=,; echo "$*"; }
endpoints() { join_by_comma $(for n in "${names[@]}"; do echo "http://127.0.0.1:$(client_port "$n")"; done); }
members() { join_by_comma $(for n in "${names[@]}"; do echo "$n=http://127.0.0.1:$(peer_port "$n")"; done); }
# The number may be another process's by now, or one that ended and was not yet reaped.
running() { [ -f "$dir/$1.pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$(cat "$dir/$1.pid")/cmdline" | grep -q oarlockd; }

start_node() { # name
  if running "$1"; then echo "$1 runs already (pid $(cat "$dir/$1.pid"))"; return; fi
  local client peer
  client="http://127.0.0.1:$(client_port "$1")"
  peer="http://127.0.0.1:$(peer_port "$1")"
  setsid "$bin/oarlockd" --name "$1" --data-dir "$dir/$1" \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
    --initial-cluster "$(members)" --initial-cluster-token make-cluster --initial-cluster-state new \
    >>"$dir/$1.log" 2>&1 </dev/null &
  echo $! >"$dir/$1.pid"
}

complain() { # name, what happened
  echo "$1 $2; the last lines of $dir/$1.log:" >&2
  tail -n 3 "$dir/$1.log" >&2
}

wait_ready() {
  local deadline=$((SECONDS + 60)) name
  for name in "${names[@]}"; do
    until curl -fsS -m 1 "http://127.0.0.1:$(client_port "$name")/readyz" >/dev/null 2>&1; do
      for other in "${names[@]}"; do
        running "$other" || { complain "$other" "ended right after its start"; return 1; }
      done
      [ $SECONDS -lt $deadline ] || { complain "$name" "did not become ready in time"; return 1; }
      sleep 0.2
    done
  done
}

stop_node() { # name
  if running "$1"; then
    local pid
    pid=$(cat "$dir/$1.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    if kill -9 "$pid" 2>/dev/null; then echo "$1 did not stop by itself and was killed"; else echo "$1 stopped"; fi
  fi
  rm -f "$dir/$1.pid"
}

case $action in
  start)
    mkdir -p "$dir"
    started=()
    for name in "${names[@]}"; do running "$name" || started+=("$name"); start_node "$name"; done
    wait_ready || { for name in "${started[@]}"; do stop_node "$name"; done; exit 1; }
    cat <<END
Three nodes serve. Data and logs: $dir

  export OARLOCK_ENDPOINTS=$(endpoints)
  export PATH=$bin:\$PATH
  oarlock status
  oarlock put /greeting hello
  oarlock get /greeting
  oarlock watch --prefix /           # in another terminal

Stop them with: make stop
END
    ;;
  stop)
    for name in "${names[@]}"; do stop_node "$name"; done
    echo "Data and logs stay in $dir; remove it to begin anew."
    ;;
  status)
    for name in "${names[@]}"; do if running "$name"; then echo "$name runs"; else echo "$name is stopped"; fi; done
    ;;
  endpoints)
    endpoints
    ;;
  *)
    echo "unknown action: $action (start, stop, status or endpoints)" >&2
    exit 2
    ;;
esac
