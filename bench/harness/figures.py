"""Figures of rounds: the median is told, with the least and the greatest."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """A figure over several rounds."""

    value: float
    least: float
    greatest: float

    @staticmethod
    def of(values):
        return Figure(median(values), min(values), max(values))


class Figures:
    """Finds figures of cells by server and by the name in a report, such as `latency_us.p99`."""

    def __init__(self, runs):
        self.reports = {}
        for run in runs:
            self.reports.setdefault((run["cell"], run["server"]), []).append(run["report"])

    def servers(self, cell):
        return [server for name, server in self.reports if name == cell]

    def get(self, cell, server, name):
        """The figure; None if there is none."""
        values = [lookup(report, name) for report in self.reports.get((cell, server), [])]
        values = [value for value in values if value is not None]
        return Figure.of(values) if values else None

    def best(self, cells, server, name):
        """The greatest figure of some cells, with the name of its cell."""
        found = [(self.get(cell, server, name), cell) for cell in cells]
        return max(((figure, cell) for figure, cell in found if figure), key=lambda pair: pair[0].value, default=None)

    def total(self, cell, server, name):
        return sum(lookup(report, name) or 0 for report in self.reports.get((cell, server), []))

    def failures(self, cell, server):
        return [report["failed"] for report in self.reports.get((cell, server), []) if "failed" in report]

    def median_report(self, cell, server, name="per_second"):
        """The report of the round in the middle."""
        reports = [report for report in self.reports.get((cell, server), []) if lookup(report, name) is not None]
        ordered = sorted(reports, key=lambda report: lookup(report, name))
        return ordered[(len(ordered) - 1) // 2] if ordered else None


def lookup(report, name):
    """A figure by its path; what stands in the notes is found by its name alone."""
    value = report
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        value = dict(report.get("notes", [])).get(name)
    return float(value) if value is not None else None
