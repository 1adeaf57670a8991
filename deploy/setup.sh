#!/usr/bin/env bash
# Installs what a bare Debian with a Rust toolchain lacks to build Oarlock, and with --tests what its
# fault tests can use besides. Does nothing, and asks for no rights, when everything is there.
set -euo pipefail

missing=()
need() { # command-or-test, package
  if ! eval "$1" >/dev/null 2>&1; then missing+=("$2"); fi
}
need "command -v c++" g++
need "command -v make" make
need "command -v protoc" protobuf-compiler # the raft crate's schemas are compiled with it
need "ls /usr/include/google/protobuf/descriptor.proto" libprotobuf-dev # schemas that the crate etcd-client of the tests imports
# RocksDB's bindings. libclang-cpp.so is another library, and often there without this one.
need "ls /usr/lib/llvm-*/lib/libclang.so* || ls /usr/lib/*/libclang-[0-9]*.so*" libclang-dev
need "command -v curl" curl
if [ "${1:-}" = --tests ]; then
  need "ls /usr/lib/*/faketime/libfaketimeMT.so.1" libfaketime # clocks that jump
  need "command -v python3" python3 # the reports of benchmarks
  need "command -v setpriv" util-linux # servers that end with their test
fi

if [ ${#missing[@]} -gt 0 ]; then
  echo "installing: ${missing[*]}"
  if [ "$(id -u)" -eq 0 ]; then sudo=; else sudo=sudo; fi
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
if ! command -v cargo >/dev/null; then
  echo "cargo is not on the PATH; install a Rust toolchain (1.95 or later) first" >&2
  exit 1
fi
