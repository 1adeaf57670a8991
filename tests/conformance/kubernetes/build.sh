#!/usr/bin/env bash
# Builds the storage tests of Kubernetes' API server, as published, with the package that starts their
# etcd replaced by testserver: build.sh CACHE. The program is CACHE/kubernetes.test.
set -euo pipefail
cd "$(dirname "$0")"
cache=${1:?directory for what is built}
[ "$cache/kubernetes.test" -nt testserver/server.go ] && exit 0
published=$(go mod download -json k8s.io/apiserver | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
copy=$cache/apiserver
rm -rf "$copy"
cp -r "$published" "$copy"
chmod -R u+w "$copy"
cp testserver/server.go "$copy/pkg/storage/etcd3/testserver/test_server.go"
cp go.mod "$cache/kubernetes.mod"
cp go.sum "$cache/kubernetes.sum"
go mod edit -replace "k8s.io/apiserver=$copy" "$cache/kubernetes.mod"
go test -c -modfile "$cache/kubernetes.mod" -o "$cache/kubernetes.test" k8s.io/apiserver/pkg/storage/etcd3
