"""How much of the package do its tests run, compiled parts included?

``python -m tests.coverage`` runs the package's tests with its kernels as plain Python (``NUMBA_DISABLE_JIT=1``), which
are slow then: each test function gets ``--seconds`` of processor time, for all its cases, and what it has run by then
counts. What only compilation runs (``_compile.py``) is measured with it, in child processes too. It prints files below
the targets. Exit status 1 if the package as a whole is below 95 % of lines or 90 % of branches, or if a test fails.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from coverage import Coverage

from tests.reliability import add_option, record

ROOT = Path(__file__).parents[1]
LINES, BRANCHES = 95.0, 90.0
PLACES = ("contract", "costs", "dynamics", "env", "golden", "physics", "properties", "solvers", "workload")
BESIDE = ("agents/test_receding.py", "agents/test_rollout.py", "agents/test_vec_env.py", "agents/test_every_policy.py")
NOT_ITS_TESTS = ("test_mutants.py", "test_packaging.py", "test_compile.py")


class Limits:
    """A plugin of pytest that ends a test when its function has had its seconds, all cases together.

    Cases come in any order, the same each time: the first ones are often of one kind.
    """

    def __init__(self, seconds):
        self.seconds, self.spent = seconds, {}

    def pytest_collection_modifyitems(self, items):
        random.Random(0).shuffle(items)  # noqa: S311
        items.sort(key=lambda item: item.path)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        return (yield from self._limited(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        return (yield from self._limited(item))

    def _limited(self, item):
        function = item.nodeid.partition("[")[0]
        spent_s, began_s, over = self.spent.get(function, 0.0), time.process_time(), []
        if spent_s >= self.seconds:
            pytest.skip("its seconds are over")

        def cut(*_):
            over.append(True)
            pytest.skip("its seconds are over")

        signal.signal(signal.SIGPROF, cut)
        signal.setitimer(signal.ITIMER_PROF, self.seconds - spent_s, 1.0)  # again, where an answer from C swallows it
        try:
            return (yield)
        except BaseException:
            if not over:  # libraries may have made another error of it
                raise
            pytest.skip("its seconds are over")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            self.spent[function] = spent_s + time.process_time() - began_s


def play(seconds, files):
    """Run these files of tests, each function within its seconds; return pytest's exit status."""
    left_open = "ignore::pytest.PytestUnraisableExceptionWarning"  # by tests that were cut
    return pytest.main(["-q", "-p", "no:cacheprovider", "-W", left_open, *files], plugins=[Limits(seconds)])


def measure(seconds):
    """Return coverage's own document, and whether all tests passed."""
    tests = [f"tests/{place}" for place in (*PLACES, *BESIDE)]
    tests += [str(path.relative_to(ROOT)) for path in ROOT.glob("tests/test_*.py") if path.name not in NOT_ITS_TESTS]
    with tempfile.TemporaryDirectory() as name:
        settings = Path(name) / "coveragerc"
        settings.write_text(
            f"[run]\nbranch = True\nsource_pkgs = edgellm_env\nparallel = True\ndata_file = {name}/data\n"
            "patch = subprocess\n[paths]\nsource =\n    edgellm_env\n    */edgellm_env\n"  # tests compile copies
            "[report]\nexclude_also =\n    raise NotImplementedError\n    if TYPE_CHECKING:\n"
        )
        coverage = [sys.executable, "-m", "coverage"]
        plain, passed = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "2"}, True
        for words, environment in (
            ([str(seconds), *tests], plain | {"NUMBA_DISABLE_JIT": "1"}),
            (["600", "tests/test_compile.py"], plain),  # a compiler can't be cut
        ):
            run = [*coverage, "run", f"--rcfile={settings}", "-m", "tests.coverage", "--only", *words]
            passed &= subprocess.run(run, cwd=ROOT, env=environment, check=False).returncode == 0
        subprocess.run([*coverage, "combine", "-q", f"--rcfile={settings}"], cwd=ROOT, env=plain, check=True)
        report = [*coverage, "json", "-q", f"--rcfile={settings}", "-o", f"{name}/report.json"]
        subprocess.run(report, cwd=ROOT, env=plain, check=True)
        return json.loads((Path(name) / "report.json").read_text()), passed


def shares(summary):
    """Percentages of lines and branches."""
    return tuple(
        100.0 * summary[f"covered_{what}"] / max(1, summary[of]) if summary[of] else 100.0
        for what, of in (("lines", "num_statements"), ("branches", "num_branches"))
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each test function (default: %(default)s)")
    add_option(parser)
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        status, here = int(play(float(arguments.only[0]), arguments.only[1:])), Coverage.current()
        here.stop()
        here.save()
        os._exit(status)  # threads may still work for a test that was cut
    document, passed = measure(arguments.seconds)
    lines, branches = shares(document["totals"])
    for path, own in sorted(document["files"].items()):
        own_lines, own_branches = shares(own["summary"])
        if own_lines < LINES or own_branches < BRANCHES:
            missing = ", ".join(map(str, own["missing_lines"]))
            arcs = ", ".join(f"{first}-{then}" for first, then in own["missing_branches"])
            print(f"{path}: {own_lines:.1f} % of lines, {own_branches:.1f} % of branches; lines {missing}; arcs {arcs}")
    print(
        f"edgellm_env: {lines:.1f} % of lines, {branches:.1f} % of branches; tests {'passed' if passed else 'FAILED'}"
    )
    if arguments.record:
        record("coverage", {"lines_percent": lines, "branches_percent": branches, "failed": 0 if passed else "some"})
    return int(not passed or lines < LINES or branches < BRANCHES)


if __name__ == "__main__":
    sys.exit(main())
