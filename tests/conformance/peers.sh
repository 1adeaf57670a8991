#!/usr/bin/env bash
# The servers that Oarlock is compared with: tests/conformance/peers.sh etcd|zookeeper...
#
# Builds etcd from its module and fetches ZooKeeper's jars by Maven, each once, into ~/.cache/oarlock.
# Prints where they are, on one line that a shell evaluates: ETCD=... ZOOKEEPER_JARS=... Needs Go for
# etcd; Maven, and a Java runtime to run it, for ZooKeeper.
set -euo pipefail
cd "$(dirname "$0")/../.."
etcd=${ETCD:-$HOME/.cache/oarlock/conformance/3.6/etcd}
jars=${ZOOKEEPER_JARS:-$HOME/.cache/oarlock/bench/curator/lib}

need() {
  command -v "$1" >/dev/null && return
  echo "peers.sh: $1 is missing: install it, e.g. apt-get install $2" >&2
  exit 1
}
for server in "${@:?etcd or zookeeper}"; do
  case $server in
    etcd)
      if [ ! -x "$etcd" ]; then
        need go golang-go
        mkdir -p "$(dirname "$etcd")"
        (cd tests/conformance/etcd/3.6 && GOTOOLCHAIN=local go build -buildvcs=false -o "$etcd" ./etcd) >&2
      fi
      printf 'ETCD=%q ' "$etcd" ;;
    zookeeper)
      need java openjdk-17-jre-headless
      # A directory that a broken download left half full is no directory of jars.
      if ! ls "$jars"/zookeeper-3.*.jar "$jars"/zookeeper-jute-3.*.jar "$jars"/snappy-java-*.jar >/dev/null 2>&1; then
        need mvn maven
        (cd bench/curator && mvn -q -B dependency:copy-dependencies "-DoutputDirectory=$jars") >&2
      fi
      printf 'ZOOKEEPER_JARS=%q ' "$jars" ;;
    *) echo "peers.sh: $server is neither etcd nor zookeeper" >&2; exit 2 ;;
  esac
done
