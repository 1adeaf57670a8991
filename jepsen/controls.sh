#!/usr/bin/env bash
# The servers that Oarlock's tests are checked against: jepsen/controls.sh
#
# Builds etcd from its module and fetches ZooKeeper's jars by Maven, both once, into ~/.cache/oarlock.
# Prints where they are, as two lines that a shell evaluates: ETCD and ZOOKEEPER_JARS. Needs Go, Maven
# and, to run ZooKeeper, a Java runtime.
set -euo pipefail
cd "$(dirname "$0")/.."
etcd=${ETCD:-$HOME/.cache/oarlock/conformance/3.6/etcd}
jars=${ZOOKEEPER_JARS:-$HOME/.cache/oarlock/bench/curator/lib}

need() {
  command -v "$1" >/dev/null && return
  echo "controls.sh: $1 is missing: install it, e.g. apt-get install $2" >&2
  exit 1
}
if [ ! -x "$etcd" ]; then
  need go golang-go
  mkdir -p "$(dirname "$etcd")"
  (cd tests/conformance/etcd/3.6 && GOTOOLCHAIN=local go build -buildvcs=false -o "$etcd" ./etcd) >&2
fi
need java openjdk-17-jre-headless
# A directory that a broken download left half full is no directory of jars.
if ! ls "$jars"/zookeeper-3.*.jar "$jars"/zookeeper-jute-3.*.jar "$jars"/snappy-java-*.jar >/dev/null 2>&1; then
  need mvn maven
  (cd bench/curator && mvn -q -B dependency:copy-dependencies "-DoutputDirectory=$jars") >&2
fi
printf 'ETCD=%q\nZOOKEEPER_JARS=%q\n' "$etcd" "$jars"
