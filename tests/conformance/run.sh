#!/usr/bin/env bash
# Runs what other people's clients expect of etcd against real etcd and against Oarlock, and prints how
# many checks hold on each:
#
#   run.sh [--quick] [--only-oarlock] BIN_DIR [suite...]
#
# BIN_DIR has oarlockd. Suites: transcript-3.4 transcript-3.5 transcript-3.6 go kubernetes rust python
# node jetcd watch-load; all of them if none is named. --quick runs the Rust client's checks, and etcdctl
# against the kept record of real etcd. What a suite needs is fetched and built below
# ~/.cache/oarlock/conformance; a suite whose toolchain is missing is skipped, and the table says so.
# Fails if a check does not hold on Oarlock that holds on etcd or was not tried there.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OARLOCK_CONFORMANCE_CACHE:-$HOME/.cache/oarlock/conformance}
servers=(etcd oarlock)
quick=
while [[ ${1:-} == --* ]]; do
  case $1 in
    --quick) quick=1 servers=(oarlock) ;;
    --only-oarlock) servers=(oarlock) ;;
    *) echo "unknown option: $1" >&2; exit 2 ;;
  esac
  shift
done
OARLOCKD=$(cd "${1:?directory of oarlockd}" && pwd)/oarlockd
shift
suites=("$@")
if [ ${#suites[@]} -eq 0 ]; then
  suites=(transcript-3.4 transcript-3.5 transcript-3.6 go kubernetes rust python node jetcd watch-load)
  [ -z "$quick" ] || suites=(rust transcript-3.6)
fi
results=$cache/results
scratch=$(mktemp -d)
mkdir -p "$results"
export OARLOCKD ETCD=$cache/3.6/etcd TRANSCRIPT=$cache/transcript GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
trap 'stop_all; rm -rf "$scratch"' EXIT

stop_all() { for dir in "$scratch"/*/; do [ ! -f "$dir/kind" ] || "$here/cluster.sh" stop "$dir"; done; }

# The programs that a suite cannot do without.
tools() { # suite
  case $1 in
    transcript-* | go | kubernetes | watch-load) echo go ;;
    rust) echo cargo ;;
    python) echo python3 ;;
    node) echo node npm ;;
    jetcd) echo java javac mvn ;;
    *) echo "suite-$1" ;;
  esac
}

go_build() { # directory of the module, package, output
  mkdir -p "$(dirname "$3")" && (cd "$1" && go build -o "$3" "./$2")
}

# A program of a fixed version is built once.
go_build_once() { [ -x "$3" ] || go_build "$@"; }

# Builds what a suite needs. The last line says why it could not.
prepare() { # suite
  local tool
  for tool in $(tools "$1"); do
    command -v "$tool" >/dev/null || { echo "$tool is not installed"; return 1; }
  done
  case $1 in
    transcript-*)
      go_build_once "$here/etcd/${1#transcript-}" etcdctl "$cache/${1#transcript-}/etcdctl" &&
        go_build "$here/go" transcript "$TRANSCRIPT" ;;
    go) go_build "$here/go" suite "$cache/suite" ;;
    watch-load) go_build "$here/go" watchload "$cache/watchload" ;;
    kubernetes) "$here/kubernetes/build.sh" "$cache" ;;
    rust) (cd "$here/rust" && CARGO_TARGET_DIR=$cache/rust cargo build --locked) ;;
    python)
      { [ -x "$cache/python/bin/pip" ] || python3 -m venv "$cache/python"; } &&
        "$cache/python/bin/pip" install -q -r "$here/python/requirements.txt" ;;
    node) mkdir -p "$cache/node" && cp "$here/node/package.json" "$cache/node" && (cd "$cache/node" && npm install) ;;
    jetcd)
      mkdir -p "$cache/jetcd/classes" &&
        { [ -d "$cache/jetcd/lib" ] || (cd "$here/jetcd" && mvn -q -B "-Dbuild=$cache/jetcd" \
          dependency:copy-dependencies "-DoutputDirectory=$cache/jetcd/lib"); } &&
        javac -d "$cache/jetcd/classes" -cp "$cache/jetcd/lib/*" "$here"/jetcd/src/main/java/conformance/*.java ;;
  esac 2>&1
}

# Prints a line for each check.
run_suite() { # suite, server, directory of the running cluster
  local endpoints record
  endpoints=$("$here/cluster.sh" endpoints "$3")
  case $1 in
    transcript-*)
      record="$results/$1-$2.record"
      "$here/transcript.sh" "$cache/${1#transcript-}/etcdctl" "$3" >"$record"
      if [ "$2" = etcd ]; then
        sed -n 's/^\$ /ok /p' "$record"
      else
        "$TRANSCRIPT" compare "$(reference "$1")" "$record" "$here/transcripts/expected-differences.txt" "${1#transcript-}"
      fi ;;
    go) "$cache/suite" -endpoints "$endpoints" ;;
    watch-load) "$cache/watchload" -cluster "$3" -control "$here/cluster.sh" ;;
    kubernetes)
      ENDPOINTS=$endpoints "$cache/kubernetes.test" -test.v -test.parallel 1 -test.timeout 15m >"$results/$1-$2.out"
      sed -nE 's/^--- PASS: ([^ ]+).*/ok \1/p; s/^--- FAIL: ([^ ]+).*/FAIL \1/p' <(tr -d '\000' <"$results/$1-$2.out") ;;
    rust) "$cache/rust/debug/conformance-etcd-client" "$endpoints" ;;
    python) "$cache/python/bin/python" "$here/python/suite.py" "$endpoints" ;;
    node) NODE_PATH=$cache/node/node_modules node "$here/node/suite.js" "$endpoints" ;;
    jetcd) java -cp "$cache/jetcd/classes:$cache/jetcd/lib/*" conformance.Suite "$endpoints" ;;
  esac 2>"$results/$1-$2.err"
}

# What real etcd printed: just now, or when the record was kept.
reference() { # suite
  if [ "${#servers[@]}" -eq 2 ]; then echo "$results/$1-etcd.record"; else echo "$here/transcripts/etcd-${1#transcript-}.record"; fi
}

# The checks that do not hold on Oarlock, without those that did not hold on etcd either just now.
broken() { # suite
  failed() { [ ! -f "$1" ] || sed -nE 's/^FAIL ([^:]*).*/\1/p' "$1" | sort; }
  if [ "${#servers[@]}" -eq 2 ]; then
    comm -23 <(failed "$results/$1-oarlock.log") <(failed "$results/$1-etcd.log")
  else
    failed "$results/$1-oarlock.log"
  fi
}

flags() { # suite, server: a short log, and as many bookmarks as Kubernetes' tests wait for
  [ "$2" != etcd ] || echo "--logger=zap --log-level=error"
  [ "$1" != kubernetes ] || echo "--watch-progress-notify-interval=1s"
}

table=()
status=0
for suite in "${suites[@]}"; do
  if ! prepare "$suite" >"$scratch/prepare.log"; then
    table+=("| $suite | skipped: $(tail -n 1 "$scratch/prepare.log" | cut -c 1-100) | |")
    continue
  fi
  cells=()
  for server in "${servers[@]}"; do
    if [ "$server" = etcd ] && ! go_build_once "$here/etcd/3.6" etcd "$ETCD" 2>"$scratch/prepare.log"; then
      cells+=("skipped: etcd cannot be built here")
      continue
    fi
    cluster="$scratch/$suite-$server"
    log="$results/$suite-$server.log"
    # shellcheck disable=SC2046 # several words
    if ! "$here/cluster.sh" start "$server" "$cluster" $(flags "$suite" "$server"); then
      cells+=("does not start"); status=1
      continue
    fi
    began=$SECONDS
    run_suite "$suite" "$server" "$cluster" >"$log"
    "$here/cluster.sh" stop "$cluster"
    good=$(grep -c '^ok ' "$log"); bad=$(grep -c '^FAIL ' "$log")
    cells+=("$good of $((good + bad)), $((SECONDS - began)) s")
    if [ "$server" = oarlock ] && { [ -n "$(broken "$suite")" ] || [ "$good" -eq 0 ]; }; then
      status=1
      grep -A 12 '^FAIL ' "$log" | head -n 60
    fi
  done
  if [ ${#servers[@]} -eq 1 ]; then cells=("not run" "${cells[@]}"); fi
  table+=("| $suite | ${cells[0]} | ${cells[1]} |")
done
printf '%s\n' "| suite | etcd | Oarlock |" "| --- | --- | --- |" "${table[@]}"
echo "Each check's result: $results"
exit $status
