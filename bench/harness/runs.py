"""Runs of `oarlock bench`, kept as lines of JSON, so that reports can be written again from them."""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from .servers import ROOT, SETTINGS, Trouble

# A run that takes so much longer than it was told hangs.
PATIENCE = 180


class Bench:
    """`oarlock bench` of one build."""

    def __init__(self, binaries):
        self.program = str(binaries / "oarlock")

    def run(self, cluster, arguments, patience=PATIENCE):
        """The report; or what went wrong, as {"failed": words}."""
        with self.begin(cluster, arguments) as running:
            return finish(running, patience)

    def begin(self, cluster, arguments, accounted=True):
        """Starts a run beside which something else is done; `finish` has its report. What the servers use
        is accounted, unless one of them is to end meanwhile."""
        accounts = ["--pids", cluster.pids()] if accounted else []
        endpoints = ["--endpoints", cluster.endpoints(), "--output", "json"]
        return Running([self.program, *endpoints, "bench", *map(str, arguments), *accounts])

    def curator(self, cluster, arguments):
        """ZooKeeper's locks by Curator; `oarlock bench` has none of them."""
        if not shutil.which("javac"):
            return {"failed": "there is no javac: install a JDK, e.g. openjdk-17-jdk-headless"}
        jars = Path(os.environ["ZOOKEEPER_JARS"])
        classes = jars.parent / "classes"
        source = ROOT / "bench/curator/src/main/java/bench/Locks.java"
        compiler = ["javac", "-cp", f"{jars}/*", "-d", classes, source]
        compiled = subprocess.run(compiler, stderr=subprocess.PIPE, text=True)
        if compiled.returncode != 0:
            return {"failed": f"javac: {compiled.stderr.strip()}"}
        servers = cluster.endpoints().replace("http://", "")
        command = ["java", "-cp", f"{jars}/*:{classes}", "bench.Locks", servers, *map(str, arguments), cluster.pids()]
        with Running(command) as running:
            return finish(running)

    def plot(self, files, directory, over=()):
        """Draws what `oarlock bench plot` does; or, `over` an option, a figure."""
        flags = ["--over", over[0], "--figure", over[1]] if over else []
        command = [self.program, "bench", "plot", *files, "-d", directory, *flags]
        done = subprocess.run(command, stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            raise Trouble("`oarlock bench plot` failed")


class Running:
    """A process that does not outlive its block."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self.process

    def __exit__(self, *_exception):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def finish(process, patience=PATIENCE):
    try:
        out, errors = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        return {"failed": f"no end within {patience} s"}
    if process.returncode != 0:
        return {"failed": (errors.strip().splitlines() or ["no words"])[-1]}
    return json.loads(out.strip().splitlines()[-1])


class Record:
    """The directory of one benchmark: about.json, and a line of runs.jsonl for each run."""

    def __init__(self, directory):
        self.directory = Path(directory)

    def begin(self, about):
        self.directory.mkdir(parents=True, exist_ok=True)
        if (self.directory / "runs.jsonl").exists():
            raise Trouble(f"{self.directory} has runs already: name another directory with --out")
        (self.directory / "about.json").write_text(json.dumps(about, indent=1) + "\n")
        (self.directory / "runs.jsonl").touch()

    def add(self, **line):
        with open(self.directory / "runs.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        if failure := line.get("report", {}).get("failed"):
            print(f"{line.get('cell')} on {line.get('server')} failed: {failure}", file=sys.stderr)

    def leave_out(self, server):
        """A peer that cannot be measured; the page says so."""
        about = self.about()
        about["versions"].pop(server, None)
        about["server_settings"].pop(server, None)
        (self.directory / "about.json").write_text(json.dumps(about, indent=1) + "\n")

    def about(self):
        return json.loads(self._read("about.json"))

    def runs(self):
        return [json.loads(line) for line in self._read("runs.jsonl").splitlines() if line]

    def _read(self, name):
        try:
            return (self.directory / name).read_text()
        except OSError as error:
            raise Trouble(f"{self.directory} is no directory of a benchmark: {error}") from error


def say(words):
    print(time.strftime("%H:%M:%S"), words, file=sys.stderr, flush=True)


def new_directory(name):
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "oarlock" / name / stamp


def about(servers, binaries, **settings):
    """Where and with what something is measured."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join([os.path.relpath(sys.argv[0], ROOT), *map(_without_places, sys.argv[1:])]),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}",
        "load": os.getloadavg()[0],
        "commit": _words("git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=12"),
        "versions": {server: _version(server, binaries) for server in servers},
        "server_settings": {server: SETTINGS[server] for server in servers},
        "settings": settings,
        "began": time.time(),
    }


def _without_places(word):
    """An argument, without where it is on this machine."""
    return "BIN" if (Path(word) / "oarlockd").exists() else word


def _processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _version(server, binaries):
    if server == "oarlock":
        return _words(binaries / "oarlockd", "--version").removeprefix("oarlockd ")
    if server == "etcd":
        return _words(os.environ["ETCD"], "--version").splitlines()[0].removeprefix("etcd Version: ")
    jar = next(Path(os.environ["ZOOKEEPER_JARS"]).glob("zookeeper-3.*.jar"))
    java = subprocess.run(["java", "-version"], stderr=subprocess.PIPE, text=True).stderr.splitlines()[0]
    return f"{jar.stem.removeprefix('zookeeper-')} on {java}"


def _words(*command):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or "unknown"
