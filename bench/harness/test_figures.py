"""Tests of figures, goals and the page: python3 -m unittest discover -s bench"""

import tempfile
import unittest
from pathlib import Path

from harness import cells, compare_report, goals, markdown
from harness.figures import Figure, Figures, lookup
from harness.runs import Record
from harness.servers import Trouble


def report(rate, p50=100, p99=1000, cpu=50.0, **more):
    return {"operations": 10, "errors": 0, "per_second": rate, "latency_us": {"p50": p50, "p99": p99, "p999": p99},
            "server_cpu_us_per_operation": cpu, "notes": [["handover_p50_us", "7"]], **more}


def run(cell, server, *args, **kwargs):
    return {"cell": cell, "server": server, "round": 0, "report": report(*args, **kwargs)}


class OfRounds(unittest.TestCase):
    def test_the_median_is_told_with_its_range(self):
        figures = Figures([run("put/64", "etcd", rate) for rate in (30, 10, 20)])
        self.assertEqual(figures.get("put/64", "etcd", "per_second"), Figure(20, 10, 30))
        self.assertEqual(figures.median_report("put/64", "etcd")["per_second"], 20)
        self.assertIsNone(figures.get("put/64", "oarlock", "per_second"))

    def test_figures_are_found_by_path_and_among_the_notes(self):
        self.assertEqual(lookup(report(1, p99=5), "latency_us.p99"), 5)
        self.assertEqual(lookup(report(1), "handover_p50_us"), 7)
        self.assertIsNone(lookup({"failed": "no leader"}, "per_second"))

    def test_a_run_that_failed_has_no_figure(self):
        figures = Figures([run("put/1", "etcd", 5), {"cell": "put/1", "server": "etcd", "report": {"failed": "x"}}])
        self.assertEqual(figures.get("put/1", "etcd", "per_second"), Figure(5, 5, 5))
        self.assertEqual(figures.failures("put/1", "etcd"), ["x"])


class OfGoals(unittest.TestCase):
    def reached(self, name, ratio, own, peer):
        goal = goals.Goal("work", "etcd", name, ratio, "words", ("c",))
        return goal.is_reached(own / peer)

    def test_more_is_better_but_for_time_and_memory(self):
        self.assertTrue(self.reached(goals.RATE, 5, 500, 100))
        self.assertFalse(self.reached(goals.RATE, 5, 499, 100))
        self.assertTrue(self.reached(goals.P99, 1 / 4, 25, 100))
        self.assertFalse(self.reached(goals.P99, 1 / 4, 26, 100))

    def test_the_best_cell_of_each_side_counts(self):
        runs = [run("stream-put/256", "oarlock", 900), run("stream-put/1024", "oarlock", 4000)]
        runs += [run("put/64", "etcd", 100), run("put/256", "etcd", 90)]
        goal = next(goal for goal in goals.of_design(cells.ALL) if "native" in goal.work and goal.peer == "etcd")
        own, peer = goal.figures(Figures(runs))
        self.assertEqual((own.value, peer.value, goal.ratio), (4000, 100, 40))

    def test_every_goal_names_cells_that_exist(self):
        known = {cell.name for cell in cells.ALL} | {"same-load", "kill-leader"}
        for goal in goals.of_design(cells.ALL):
            self.assertLessEqual({*goal.cells, *goal.peer_cells}, known, goal)

    def test_what_was_not_measured_is_not_reached(self):
        rows, reached, measured = goals.goals_table(Figures([run("put/64", "etcd", 100)]), cells.ALL)
        self.assertEqual((reached, measured), (0, 0))
        self.assertIn("not measured", rows)


class OfThePage(unittest.TestCase):
    ABOUT = {"command": "bench/compare BIN", "date": "today", "commit": "c", "machine": "m", "load": 0.5,
             "versions": {"etcd": "3.6", "oarlock": "0.1"}, "server_settings": {"etcd": "defaults"},
             "settings": {"rounds": 2, "seconds": 1, "warm_up": 1, "load_seconds": 8, "load_rate": 1000}}

    def test_the_page_says_who_wins_and_who_is_missing(self):
        runs = [run("put/64", "etcd", 100, p99=900), run("put/64", "oarlock", 600, p99=1800)]
        page = compare_report.text(Figures(runs), self.ABOUT, {"etcd-put": "Puts"})
        self.assertIn("| puts through etcd's API, 64 clients | etcd | 5 times | 100 /s | 600 /s | 6 | yes |", page)
        self.assertIn("Left out, as it could not be found, installed or started: ZooKeeper.", page)
        self.assertIn("| put | 64 | etcd | p99 | 900 µs | 1,800 µs | 2 times |", page)
        self.assertNotIn("| put | 64 | etcd | throughput |", page)
        self.assertIn("![Puts](compare/etcd-put.svg)", page)

    def test_a_failed_run_is_told(self):
        runs = [{"cell": "put/64", "server": "etcd", "report": {"failed": "no leader"}}]
        self.assertIn("failed: no leader", compare_report.text(Figures(runs), self.ABOUT, {}))

    def test_numbers_have_three_digits(self):
        words = [markdown.number(value) for value in (0, 0.1234, 12.34, 1234.5)]
        self.assertEqual(words, ["0", "0.123", "12.3", "1,234"])
        self.assertEqual(markdown.spread(Figure(5, 4, 6)), "5 (4..6)")


class OfTheRecord(unittest.TestCase):
    def test_runs_are_read_again_and_never_mixed(self):
        with tempfile.TemporaryDirectory() as directory:
            record = Record(Path(directory) / "new")
            record.begin({"versions": {"etcd": "3.6", "oarlock": "0.1"}, "server_settings": {}})
            record.add(cell="put/1", server="etcd", round=0, report=report(5))
            again = Record(record.directory)
            self.assertEqual([line["cell"] for line in again.runs()], ["put/1"])
            record.leave_out("etcd")
            self.assertEqual(again.about()["versions"], {"oarlock": "0.1"})
            with self.assertRaises(Trouble):
                record.begin({})
            with self.assertRaises(Trouble):
                Record(directory).runs()


if __name__ == "__main__":
    unittest.main()
