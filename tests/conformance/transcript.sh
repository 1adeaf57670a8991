#!/usr/bin/env bash
# Runs the transcript with one etcdctl against one running cluster and prints the record:
# transcript.sh ETCDCTL CLUSTER_DIR. TRANSCRIPT names the program of go/transcript.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
etcdctl=${1:?path of etcdctl}
cluster=${2:?directory of the cluster}
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
export SCRATCH PATH="$SCRATCH:$PATH"
ENDPOINTS=$("$here/cluster.sh" endpoints "$cluster")
# etcdctl 3.4 puts the scheme of an endpoint into a header where HTTP/2 allows none (docs/compatibility.md).
case $etcdctl in */3.4/*) ENDPOINTS=${ENDPOINTS//http:\/\//} ;; esac
# A command that names endpoints itself must not also find them elsewhere.
cat >"$SCRATCH/etcdctl" <<END
#!/bin/sh
case " \$* " in *" --endpoints"*) ;; *) set -- --endpoints "$ENDPOINTS" "\$@" ;; esac
exec "$etcdctl" "\$@"
END
chmod +x "$SCRATCH/etcdctl"
FIRST=${ENDPOINTS%%,*}
# The endpoint whose own number is the leader's.
LEADER=$(etcdctl endpoint status -w fields |
  awk '/"MemberID"/ { id = $3 } /"Leader"/ { leader = $3 } /"Endpoint"/ { if (id == leader) print $3 }' | tr -d '"')
export FIRST LEADER
"${TRANSCRIPT:?path of the transcript program}" run "$here/transcripts/commands.txt"
