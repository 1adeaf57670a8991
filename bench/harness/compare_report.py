"""The page of bench/compare, from the reports of its runs."""

import json
import shutil
import tempfile
from pathlib import Path

from . import cells, goals
from .figures import Figures
from .goals import CPU, P50, P99, PEAK, RATE, RESIDENT, SILENCE
from .markdown import NAMES, header, number, spread, table

P999, CLIENT = "latency_us.p999", "client_cpu_us_per_operation"
# A picture: its name, its title, and whose cells make its lines.
CURVES = {
    "etcd-put": ("Puts through etcd's API", "put/", ("etcd", "oarlock")),
    "etcd-get": ("Linearizable gets through etcd's API", "get/", ("etcd", "oarlock")),
    "zookeeper-set": ("setData on ZooKeeper, puts on Oarlock", "set/", ("zookeeper", "oarlock")),
    "zookeeper-get": ("getData on ZooKeeper, serializable gets on Oarlock", "get-data/", ("zookeeper", "oarlock")),
}


def emptied(directory):
    """The directory, without the pictures of an earlier run."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.svg"):
        old.unlink()
    return directory


def write(record, docs, bench):
    """Writes compare.md and its pictures below `docs`; returns the page's path."""
    figures, about = Figures(record.runs()), record.about()
    pictures = docs / "compare"
    drawn = draw(figures, pictures, bench)
    page = docs / "compare.md"
    page.write_text(text(figures, about, drawn))
    return page


def text(figures, about, drawn):
    settings = about["settings"]
    how = (
        f"Each cell was measured in {settings['rounds']} rounds of {settings['seconds']} s after a warm-up of"
        f" {settings['warm_up']} s, the servers in turn (A B A B), by the same program, `oarlock bench`. A figure is"
        " the median of its rounds, with the least and the greatest behind it. Three nodes on loopback, values of 256"
        " bytes, 10,000 keys where nothing else is said. Ratios count, absolute figures do not."
    )
    left_out = [NAMES[server] for server in NAMES if server not in about["versions"]]
    parts = ["# Oarlock, etcd and ZooKeeper in one run", header(about, how)]
    if left_out:
        parts.append(f"**Left out, as it could not be found, installed or started: {' and '.join(left_out)}.**")
    parts += [goals_part(figures), *matrix_parts(figures), kills_part(figures), memory_part(figures, settings)]
    parts += [wins_part(figures), pictures_part(drawn)]
    return "\n\n".join(part for part in parts if part) + "\n"


def goals_part(figures):
    rows, reached, measured = goals.goals_table(figures, cells.ALL)
    return "\n\n".join(
        [
            "## The goals",
            f"{reached} of {measured} measured goals are reached.",
            rows,
            "Oarlock does not speak ZooKeeper's protocol. Beside ZooKeeper it is asked one by one through its own API,"
            " by the same number of clients. CPU and memory are sums over the three servers. How cost grows with keys,"
            " watchers and sessions is in [scale.md](scale.md).",
        ]
    )


def matrix_parts(figures):
    for group in dict.fromkeys(cell.group for cell in cells.ALL):
        rows = [row for cell in cells.ALL if cell.group == group for row in cell_rows(figures, cell)]
        if not rows:
            continue
        many = "in flight" if group == cells.NATIVE else "clients"
        times = ["p50 µs", "p99 µs", "p99.9 µs", "server CPU µs", "client CPU µs"]
        head = ["operation", many, "server", "/s", *times, "errors", "times the peer's"]
        parts = [f"## {group}", table(head, rows, right=(1, 3, 4, 5, 6, 7, 8, 9, 10))]
        if group == cells.LOCKS:
            parts.append(handover_table(figures))
        yield "\n\n".join(parts)


def cell_rows(figures, cell):
    """A row for each server that was measured; Oarlock's says how it stands to each of the others."""
    own = figures.get(cell.name, "oarlock", RATE)
    for server in cell.sides:
        rate = figures.get(cell.name, server, RATE)
        if rate is None:
            if failures := figures.failures(cell.name, server):
                yield [cell.title, cell.clients, NAMES[server], f"failed: {failures[-1]}", *["–"] * 7]
            continue
        found = [figures.get(cell.name, server, name) for name in (P50, P99, P999, CPU, CLIENT)]
        columns = [number(figure.value) if figure else "–" for figure in found]
        errors = number(figures.total(cell.name, server, "errors"))
        times = times_the_peers(figures, cell, own) if server == "oarlock" else "–"
        yield [cell.title, cell.clients, NAMES[server], spread(rate), *columns, errors, times]


def times_the_peers(figures, cell, own):
    rates = {peer: figures.get(cell.name, peer, RATE) for peer in cell.sides if peer != "oarlock"}
    known = {peer: own.value / rate.value for peer, rate in rates.items() if rate and rate.value}
    if len(known) == 1:
        return number(*known.values())
    return ", ".join(f"{number(ratio)} {NAMES[peer]}" for peer, ratio in known.items()) or "–"


def handover_table(figures):
    rows = []
    for cell in cells.ALL:
        for server in cell.sides if cell.group == cells.LOCKS else ():
            names = ("handover_p50_us", "handover_p99_us")
            found = [figures.get(cell.name, server, name) for name in names]
            if all(figure and figure.value for figure in found):
                rows.append([cell.clients, NAMES[server], *map(spread, found)])
    head = ["contenders for one lock", "server", "hand-over p50 µs", "p99 µs"]
    return table(head, rows, right=(0, 2, 3)) if rows else ""


def kills_part(figures):
    rows = []
    for server in figures.servers("kill-leader"):
        if silence := figures.get("kill-leader", server, SILENCE):
            errors = number(figures.total("kill-leader", server, "errors"))
            rows.append([NAMES[server], *map(number, (silence.value, silence.least, silence.greatest)), errors])
    if not rows:
        return ""
    kills = max(len(figures.reports["kill-leader", server]) for server in figures.servers("kill-leader"))
    return "\n\n".join(
        [
            "## Time without writes after kill -9 of the leader",
            f"Puts are due at 100/s all the time, of more clients than can all wait at once. The leader gets SIGKILL,"
            f" {kills} times on each server, in turn. It is the longest time in which no client of any member had a"
            " successful answer.",
            table(["server", "median ms", "least", "greatest", "failed puts in all"], rows, right=(1, 2, 3, 4)),
        ]
    )


def memory_part(figures, settings):
    rows = []
    for server in figures.servers("same-load"):
        found = [figures.get("same-load", server, name) for name in (RESIDENT, PEAK, CPU, P99, "operations")]
        lost = figures.total("same-load", server, "errors") + figures.total("same-load", server, "unsent")
        rows.append([NAMES[server], *(number(figure.value) if figure else "–" for figure in found), number(lost)])
    if not rows:
        return ""
    head = ["server", "resident MiB", "peak MiB", "server CPU µs for a put", "p99 µs", "puts", "failed or never sent"]
    return "\n\n".join(
        [
            "## The same load",
            f"Fresh clusters, one after the other: 10,000 keys are made, then {settings['load_rate']:,} puts are due in"
            f" each of {number(settings['load_seconds'])} s. Memory is that of all three servers at the end.",
            table(head, rows, right=tuple(range(1, 7))),
        ]
    )


def wins_part(figures):
    names = ((RATE, "throughput"), (P50, "p50"), (P99, "p99"), (CPU, "server CPU for each"))
    rows = [row for cell in cells.ALL for row in wins(figures, cell.name, (cell.title, cell.clients), names)]
    rows += wins(figures, "kill-leader", ("kill -9 of the leader", "–"), ((SILENCE, "time without writes"),))
    rows += wins(figures, "same-load", ("the same load", 64), ((RESIDENT, "resident memory"), (PEAK, "peak memory")))
    title = "## Where a peer wins"
    if not rows:
        return f"{title}\n\nIn no cell that was measured."
    head = ["operation", "clients", "peer", "what", "peer", "Oarlock", "peer better by"]
    words = "Every cell in which a peer's median is better than Oarlock's."
    return "\n\n".join([title, words, table(head, rows, right=(1, 4, 5, 6))])


def wins(figures, cell, words, names):
    """A row for each figure of a cell in which a peer is better."""
    for peer in figures.servers(cell):
        for name, word in names if peer != "oarlock" else ():
            own, other = figures.get(cell, "oarlock", name), figures.get(cell, peer, name)
            if not own or not other or not own.value or not other.value:
                continue
            ratio = own.value / other.value if name in goals.LESS_IS_BETTER else other.value / own.value
            if ratio > 1:
                unit = goals.UNITS[name]
                both = [f"{spread(figure)} {unit}" for figure in (other, own)]
                yield [*words, NAMES[peer], word, *both, f"{number(ratio)} times"]


def draw(figures, directory, bench):
    """Draws what was measured; returns the titles by the pictures' names."""
    drawn = {}
    emptied(directory)
    for name, (title, prefix, servers) in CURVES.items():
        lines = {server: curve(figures, prefix, server) for server in servers}
        if plot(bench, lines, "throughput-over-latency", directory / f"{name}.svg"):
            drawn[name] = title
    servers = figures.servers("kill-leader")
    middle = {server: figures.median_report("kill-leader", server, SILENCE) for server in servers}
    killed = {server: [report] for server, report in middle.items() if report}
    if plot(bench, killed, "throughput-over-time", directory / "kill-leader.svg"):
        drawn["kill-leader"] = "Puts each second while the leader is killed"
    return drawn


def curve(figures, prefix, server):
    """The reports in the middle, one for each number of clients."""
    found = [figures.median_report(cell.name, server) for cell in cells.ALL if cell.name.startswith(prefix)]
    return [report for report in found if report]


def plot(bench, lines, picture, path, over=()):
    lines = {server: reports for server, reports in lines.items() if reports}
    if not lines:
        return False
    with tempfile.TemporaryDirectory() as scratch:
        files = []
        for server, reports in lines.items():
            file = Path(scratch) / NAMES[server]
            file.write_text("".join(json.dumps(report) + "\n" for report in reports))
            files.append(file)
        bench.plot(files, scratch, over)
        shutil.move(Path(scratch) / f"{picture}.svg", path)
    return True


def pictures_part(drawn):
    if not drawn:
        return ""
    return "\n\n".join(["## Pictures", *(f"![{title}](compare/{name}.svg)" for name, title in drawn.items())])
