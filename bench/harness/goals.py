"""The figures to reach, and whether they were: each goal is a ratio of Oarlock's figure to a peer's."""

from dataclasses import dataclass

from .figures import Figure
from .markdown import NAMES, number, spread, table

RATE, P50, P99 = "per_second", "latency_us.p50", "latency_us.p99"
CPU, RESIDENT, PEAK = "server_cpu_us_per_operation", "server_resident_mib", "server_peak_mib"
SILENCE = "longest_silence_ms"
UNITS = {RATE: "/s", P50: "µs", P99: "µs", CPU: "µs", RESIDENT: "MiB", PEAK: "MiB", SILENCE: "ms"}
# Below these figures, less is better.
LESS_IS_BETTER = (P50, P99, CPU, RESIDENT, PEAK, SILENCE)


@dataclass(frozen=True)
class Goal:
    """What to reach: the figure `name` of a cell, on Oarlock and on a peer, in this ratio."""

    work: str
    peer: str
    name: str
    ratio: float
    words: str
    cells: tuple
    peer_cells: tuple = ()

    def is_reached(self, ratio):
        return ratio <= self.ratio if self.name in LESS_IS_BETTER else ratio >= self.ratio

    def figures(self, figures):
        """Oarlock's and the peer's; of several cells the best of each."""
        own = best(figures, self.cells, "oarlock", self.name)
        peer = best(figures, self.peer_cells or self.cells, self.peer, self.name)
        return own, peer


def best(figures, cells, server, name) -> Figure | None:
    found = [figure for cell in cells if (figure := figures.get(cell, server, name))]
    pick = min if name in LESS_IS_BETTER else max
    return pick(found, key=lambda figure: figure.value, default=None)


def through_etcd():
    for count in (64, 256):
        cell = (f"put/{count}",)
        work = f"puts through etcd's API, {count} clients"
        yield Goal(work, "etcd", RATE, 5, "5 times", cell)
        yield Goal(f"{work}: p99", "etcd", P99, 1 / 4, "a quarter", cell)
        yield Goal(f"{work}: CPU of all servers", "etcd", CPU, 1 / 6, "a sixth", cell)
    for count in (64, 256):
        work = f"linearizable gets through etcd's API, {count} clients"
        yield Goal(work, "etcd", RATE, 4, "4 times", (f"get/{count}",))


def beside_zookeeper():
    works = (("setData", "set", 5), ("create", "create", 5), ("getData", "get-data", 3))
    for work, cell, ratio in works:
        for count in (64, 256):
            yield Goal(f"{work}, {count} clients", "zookeeper", RATE, ratio, f"{ratio} times", (f"{cell}/{count}",))


def streams(cells):
    native = tuple(cell.name for cell in cells if cell.name.startswith("stream-put/"))
    for peer, kind, ratio in (("etcd", "put", 40), ("zookeeper", "set", 10)):
        others = tuple(f"{kind}/{count}" for count in (1, 64, 256))
        work = "native puts on session streams, the best of each"
        yield Goal(work, peer, RATE, ratio, f"{ratio} times", native, others)


def one_at_a_time():
    works = (("etcd", "put", "put"), ("etcd", "get", "get"), ("zookeeper", "put", "set"), ("zookeeper", "get", "get-data"))
    for peer, word, cell in works:
        for name, percentile in ((P50, "p50"), (P99, "p99")):
            yield Goal(f"one client, one {word} at a time: {percentile}", peer, name, 1, "less", (f"{cell}/1",))


def of_design(cells):
    """The rows of the table, in its order."""
    yield from through_etcd()
    yield from beside_zookeeper()
    yield from streams(cells)
    yield from one_at_a_time()
    yield Goal("memory of the three servers after the same load", "etcd", RESIDENT, 1 / 3, "a third", ("same-load",))
    for peer in ("etcd", "zookeeper"):
        yield Goal("time without writes after kill -9 of the leader", peer, SILENCE, 1, "less", ("kill-leader",))


def goals_table(figures, cells):
    """The table, and how many of the goals that were measured are reached."""
    rows, reached, measured = [], 0, 0
    for goal in of_design(cells):
        own, peer = goal.figures(figures)
        row = [goal.work, NAMES[goal.peer], goal.words]
        if own is None or peer is None or peer.value == 0:
            rows.append([*row, cell(peer, goal.name), cell(own, goal.name), "–", "not measured"])
            continue
        ratio = own.value / peer.value
        is_reached = goal.is_reached(ratio)
        measured += 1
        reached += is_reached
        verdict = "yes" if is_reached else "**no**"
        rows.append([*row, cell(peer, goal.name), cell(own, goal.name), number(ratio), verdict])
    head = ["work", "against", "goal", "the peer", "Oarlock", "ratio", "reached"]
    return table(head, rows, right=(3, 4, 5)), reached, measured


def cell(figure, name):
    return f"{spread(figure)} {UNITS[name]}" if figure else "–"
