"""Clusters on loopback, and the end of them: whatever happens, no server is left behind."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "tests/conformance/cluster.sh"
PEERS = ROOT / "tests/conformance/peers.sh"

# What differs from the defaults of the servers, for the reports.
SETTINGS = {
    "etcd": "defaults, but `--log-level=error`",
    "oarlock": "defaults",
    "zookeeper": "the times of its sample configuration (tickTime 2000, initLimit 10, syncLimit 5), the heap of"
    " its start script (1000 MB), `admin.enableServer=false`, `maxClientCnxns=0`; `forceSync` is on by default",
}
FLAGS = {
    "etcd": ["--logger=zap", "--log-level=error"],
    "oarlock": [],
    "zookeeper": ["maxClientCnxns=0"],
}


class Trouble(Exception):
    """Something that ends a benchmark, in words for whoever started it."""


def find(servers, binaries):
    """Finds or installs servers. Returns those that can run; says why others cannot."""
    for program in ("oarlockd", "oarlock"):
        if not (binaries / program).is_file():
            raise Trouble(f"there is no {program} in {binaries}: build it with `make build`")
    environment = {"OARLOCKD": str(binaries / "oarlockd")}
    found = []
    for server in servers:
        if server != "oarlock":
            done = subprocess.run([PEERS, server], stdout=subprocess.PIPE, text=True)
            if done.returncode != 0:
                print(f"{server} is left out: it could not be found or installed", file=sys.stderr)
                continue
            environment.update(word.split("=", 1) for word in shlex.split(done.stdout))
        found.append(server)
    os.environ.update(environment)
    return found


def stop_on_signals():
    """Lets a signal end the program as an exception does, so that everything is cleaned up."""

    def end(number, _frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)


def control(action, directory, *arguments, nodes=3):
    """Runs cluster.sh and returns what it prints."""
    command = [CLUSTER, action, *arguments]
    # Its servers go on after it, so they must not hold its standard output.
    environment = {**os.environ, "NODES": str(nodes)}
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment)
    try:
        out, _ = process.communicate()
    finally:
        # It is never killed: what it has started must be written down first.
        process.terminate()
        process.wait()
    if process.returncode != 0:
        raise Trouble(f"cluster.sh {action} failed for {directory}")
    return out.strip()


class Cluster:
    """A new cluster of one kind of server."""

    def __init__(self, kind, directory, nodes=3, flags=()):
        self.kind = kind
        self.directory = directory
        self.nodes = nodes
        self.flags = [*FLAGS[kind], *flags]
        # The nodes whose addresses clients are given.
        self.asked = range(1, nodes + 1)

    def start(self):
        control("start", self.directory, self.kind, self.directory, *self.flags, nodes=self.nodes)

    def stop(self):
        # Without these notes nothing was started.
        if (self.directory / "flags").exists():
            control("stop", self.directory, self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)

    def endpoints(self):
        every = control("endpoints", self.directory, self.directory).split(",")
        return ",".join(every[node - 1] for node in self.asked)

    def pids(self):
        return control("pids", self.directory, self.directory)

    def leader(self):
        return int(control("leader", self.directory, self.directory))

    def kill(self, node):
        control("kill", self.directory, self.directory, node)

    def restart(self, node):
        control("restart", self.directory, self.directory, node)

    def restart_all(self):
        control("restart-all", self.directory, self.directory)

    def data_bytes(self):
        """Bytes on disk of all nodes."""
        done = subprocess.run(["du", "-s", "-B1", self.directory], stdout=subprocess.PIPE, text=True)
        return int(done.stdout.split()[0]) if done.stdout else 0


class Clusters:
    """Clusters that end with a block of code, each in a directory of its own below one that goes too."""

    def __init__(self):
        self.base = Path(tempfile.mkdtemp(prefix="oarlock-bench-"))
        self.running = {}

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        for name in list(self.running):
            self.stop(name)
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self, kind, name=None, nodes=3, flags=()):
        """A fresh cluster; one that has its name already is stopped first, and its data goes."""
        name = name or kind
        self.stop(name)
        cluster = self.running[name] = Cluster(kind, self.base / name, nodes, flags)
        cluster.start()
        return cluster

    def stop(self, name):
        if cluster := self.running.pop(name, None):
            cluster.stop()
