"""What goes on beside the writes of bench/tail."""

import json
import signal
import sys
import time
import urllib.request
from contextlib import contextmanager

from .servers import Trouble

# Seconds of the measured time after which it happens.
BEGINS = 4
# Log entries after which a member that is behind gets a snapshot, where that is the point.
SHORT_LOG = 2000


class Scene:
    """Nothing: what the others are compared with."""

    name = "quiet"
    title = "nothing else"
    # Whether the servers' CPU and memory are read at both ends: not if one ends meanwhile.
    is_accounted = True

    def flags(self, _server):
        return ()

    @contextmanager
    def happening(self, _bench, _cluster):
        """Prepares; gives what makes it happen."""
        yield lambda: None


class Compaction(Scene):
    name = "compaction"
    title = "history of 100,000 changes is compacted"

    @contextmanager
    def happening(self, bench, cluster):
        for _ in range(10):
            bench.run(cluster, ["fill", "--api", "etcd", "--clients", 256])
        yield lambda: compact(cluster)


class Snapshots(Scene):
    name = "snapshots"
    title = f"a snapshot after each {SHORT_LOG:,} entries of the log"

    def flags(self, _server):
        return (f"--snapshot-count={SHORT_LOG}",)


class Flushes(Scene):
    name = "flushes"
    title = "changes go from memory to disk at each MiB; etcd: ten times a second, as always"

    def flags(self, server):
        return ("--overlay-bytes=1048576",) if server == "oarlock" else ()


class CatchUp(Scene):
    """A follower was away for longer than the log reaches back, and starts again."""

    name = "catch-up"
    title = "a follower that was away gets a snapshot and catches up"
    is_accounted = False

    def flags(self, _server):
        return (f"--snapshot-count={SHORT_LOG}",)

    @contextmanager
    def happening(self, bench, cluster):
        follower = cluster.leader() % cluster.nodes + 1
        cluster.kill(follower)
        cluster.asked = [node for node in range(1, cluster.nodes + 1) if node != follower]
        bench.run(cluster, ["fill", "--api", "etcd", "--clients", 256, "--keys", 50_000])
        yield lambda: cluster.restart(follower)


class Storm(Scene):
    """Who held the sessions is killed. Then another member leads, which gives every session its whole time again:
    so all of them end in one moment, among the writes."""

    name = "session-storm"
    counts = {"oarlock": 100_000, "etcd": 10_000}
    # Seconds: longer than it takes to open them.
    timeouts = {"oarlock": 90, "etcd": 30}
    title = "100,000 sessions (etcd: 10,000 leases) expire at once"

    @contextmanager
    def happening(self, bench, cluster):
        api = "native" if cluster.kind == "oarlock" else "etcd"
        count, timeout = self.counts[cluster.kind], self.timeouts[cluster.kind]
        hold = ["sessions", "--api", api, "--count", count, "--timeout-ms", timeout * 1000, "--seconds", 600]
        with bench.begin(cluster, hold) as holder:
            wait_for_sessions(cluster, count)
            holder.send_signal(signal.SIGKILL)
            move_leader(cluster)
            time.sleep(timeout - BEGINS - 2)
            yield lambda: None
        if left := len(ask(cluster, "/v3/lease/leases", {}).get("leases", [])):
            print(f"{left} of {count} sessions of {cluster.kind} were still there at the end", file=sys.stderr)


class SlowWatchers(Scene):
    """The process that watches is stopped: its connections stay, and nobody reads them."""

    name = "slow-watchers"
    title = "100 watchers of all keys do not read"

    @contextmanager
    def happening(self, bench, cluster):
        watch = ["watchers", "--api", "etcd", "--count", 100, "--prefix", "/bench/", "--writes", 0.1, "--seconds", 600]
        with bench.begin(cluster, watch, accounted=False) as watchers:
            time.sleep(2)
            watchers.send_signal(signal.SIGSTOP)
            yield lambda: None


def compact(cluster):
    revision = ask(cluster, "/v3/kv/range", {"key": "Lw=="})["header"]["revision"]
    ask(cluster, "/v3/kv/compaction", {"revision": revision})


def move_leader(cluster):
    leader = ask(cluster, "/v3/maintenance/status", {})["leader"]
    members = [member["ID"] for member in ask(cluster, "/v3/cluster/member/list", {})["members"]]
    target = next(member for member in members if member != leader)
    url = cluster.endpoints().split(",")[cluster.leader() - 1]
    ask(cluster, "/v3/maintenance/transfer-leadership", {"targetID": target}, url)


def wait_for_sessions(cluster, count):
    deadline = time.monotonic() + 300
    while len(ask(cluster, "/v3/lease/leases", {}).get("leases", [])) < count:
        if time.monotonic() > deadline:
            raise Trouble(f"{cluster.kind} did not open {count} sessions in 5 minutes")
        time.sleep(1)


def ask(cluster, path, request, url=None):
    """A call of etcd's API over HTTP, to the first node if to no other."""
    url = url or cluster.endpoints().split(",")[0]
    with urllib.request.urlopen(url + path, json.dumps(request).encode(), timeout=60) as answer:
        return json.load(answer)


ALL = [Scene(), Compaction(), Snapshots(), Flushes(), CatchUp(), Storm(), SlowWatchers()]
