"""Tests of the pages of bench/scale and bench/tail."""

import unittest

from harness import curves, scale_report, scenes, tail_report
from harness.figures import Figures

ABOUT = {"command": "bench/x BIN", "date": "today", "commit": "c", "machine": "m", "load": 0.5,
         "versions": {"oarlock": "0.1"}, "server_settings": {"oarlock": "defaults"},
         "settings": {"seconds": 3, "rate": 1000, "event": 4}}


def run(cell, server, cpu=10.0, p999=2000, memory=100):
    latency = {"p50": 1000, "p99": 1500, "p999": p999, "max": 9000}
    report = {"per_second": 50.0, "latency_us": latency, "server_cpu_us_per_operation": cpu, "errors": 1, "unsent": 2,
              "server_resident_mib": memory, "longest_silence_ms": 12, "notes": []}
    return {"cell": cell, "server": server, "round": 0, "report": report}


class OfScale(unittest.TestCase):
    def test_growth_is_from_the_smallest_to_the_largest(self):
        runs = [run("keys-put/100000", "oarlock", cpu=30.0, memory=200), run("keys-put/1000", "oarlock")]
        page = scale_report.text(Figures(runs), ABOUT, [])
        self.assertIn("| Puts among many keys | Oarlock | 1,000 to 100,000 | 10 | 30 | 3 | 1,059 B on all servers |", page)

    def test_points_are_in_order_and_those_that_failed_are_none(self):
        runs = [run("keys-put/100000", "etcd"), run("keys-put/1000", "etcd")]
        runs.append({"cell": "keys-put/10000", "server": "etcd", "report": {"failed": "x", "notes": []}})
        found = scale_report.points(curves.KEYS[0], Figures(runs), "etcd")
        self.assertEqual([size for size, _ in found], [1000, 100000])

    def test_every_curve_asks_for_what_it_varies(self):
        for curve in curves.ALL:
            for arguments in curve.arguments.values():
                words = [str(word) for word in arguments(4321)]
                self.assertTrue("4321" in words or curve in curves.NODES, curve.name)
        self.assertEqual(curves.powers(10, 1000), [10, 100, 1000])


class OfTail(unittest.TestCase):
    def test_a_scene_is_compared_with_the_quiet_one(self):
        runs = [run("quiet", "oarlock"), run("compaction", "oarlock", p999=6000)]
        page = tail_report.text(Figures(runs), ABOUT, [])
        self.assertIn(f"| {scenes.Compaction.title} | Oarlock | 1 | 1.5 | 6 | 9 | 12 | 3 | 3 |", page)

    def test_a_scene_that_failed_is_told(self):
        runs = [{"cell": "quiet", "server": "oarlock", "report": {"failed": "no leader"}}]
        self.assertIn("failed: no leader", tail_report.text(Figures(runs), ABOUT, []))

    def test_scenes_have_names_of_their_own(self):
        self.assertEqual(len({scene.name for scene in scenes.ALL}), len(scenes.ALL))


if __name__ == "__main__":
    unittest.main()
