"""What the benchmarks in bench/ share: servers, runs of `oarlock bench`, figures and Markdown.

Only Python's standard library is used. The servers are started and stopped by
tests/conformance/cluster.sh, found or built by tests/conformance/peers.sh.
"""
