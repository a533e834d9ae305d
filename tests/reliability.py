"""The page of what was tried to break the project: each command writes its own figures into it.

``python -m tests.reliability`` runs every command below with ``--record`` (hours; ``nice`` is advised), or those that
are named; ``--page`` only writes docs/reliability.md anew from the figures stored in docs/reliability.json.
"""

import argparse
import json
import platform
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIGURES, PAGE = ROOT / "docs/reliability.json", ROOT / "docs/reliability.md"
COMMANDS = {
    "twins": "tests.twins --slots 100000",
    "endurance": "tests.endurance --slots 50000000 --decisions 1000000",
    "breakage": "tests.breakage --tries 3",
    "wrong inputs": "tests.wrong_inputs.worker 1 2000",
    "mutants": "tests.mutants",
    "coverage": "tests.coverage",
    "same": "tests.same",
}


def record(name, figures, words=None):
    """Store what a command found, and write the page."""
    document = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    command = shlex.join(["python", "-m", *COMMANDS[name].split()[:1], *(sys.argv[1:] if words is None else words)])
    about = {"command": command.replace(" --record", ""), "date": date.today().isoformat()}
    document[name] = about | {"python": platform.python_version()} | figures
    FIGURES.write_text(json.dumps(document, indent=1) + "\n")
    PAGE.write_text(page(document))


def add_option(parser):
    """Give a command its ``--record``."""
    parser.add_argument("--record", action="store_true", help="store the figures for docs/reliability.md")


def page(document):
    """The page, from the figures of the commands that have run."""
    lines = [
        "# Reliability", "",
        "What was tried to break the project, and what came of it. Each line is written by the command beside it, from",
        "its own run (`python -m tests.reliability`); `docs/reliability.json` has the figures.", "",
        "| what | tried | wrong | command, day |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    for name, rows in ROWS.items():
        if name in document:
            own = document[name]
            lines += [
                f"| {what} | {tried} | {wrong} | `{own['command']}`, Python {own['python']}, {own['date']} |"
                for what, tried, wrong in rows(own)
            ]
    played = {name: document.get(name, {}).get("slots", 0) for name in ("twins", "endurance")}
    wrong = document.get("twins", {}).get("differ", 0) + document.get("endurance", {}).get("broken", 0)
    beside = f"{played['twins']:,} beside a plain simulator, {played['endurance']:,} with promises checked alone"
    if sum(played.values()):
        lines += [f"| slots of random actions in all: {beside} | {sum(played.values()):,} slots | {wrong} | as above |"]
    lines += ["", *MEANINGS]
    return "\n".join(lines) + "\n"


def _twins(own):
    what = "random scenarios of both kinds, every id: alone, in a vector, copied, restored, beside a plain simulator"
    return [(what, f"{own['slots']:,} slots, {own['scenarios']:,} scenarios", own["differ"])]


def _endurance(own):
    growth, slowdown = (100 * (own[name] - 1) for name in ("growth", "slowdown"))
    grew = f"memory grew by {growth:.0f} % at most, a slot's time by {slowdown:.0f} %"
    return [
        ("shipped scenarios, every id: conservation, deadlines, masks", f"{own['slots']:,} slots", own["broken"]),
        (f"experts' decisions on both kinds of node; {grew}", f"{own['decisions']:,} decisions", own["broken"]),
    ]


def _breakage(own):
    return [
        (f"{fault}, while {own['commands']} commands ran", f"{one['tried']} faults", one["broken"])
        for fault, one in own["faults"].items()
    ]


def _mutants(own):
    return [
        ("deliberate faults in the package that the tests must catch", own["faults"], f"{own['survived']} survived")
    ]


def _coverage(own):
    both = f"{own['lines_percent']:.1f} % of lines, {own['branches_percent']:.1f} % of branches"
    return [("`edgellm_env` run by its tests, compiled parts included", both, f"{own['failed']} failed")]


def _same(own):
    return [(f"the same seed: {', '.join(own['ways'])}", f"{own['episodes']} digests each", f"{own['differ']} differ")]


ROWS = {
    "twins": _twins,
    "endurance": _endurance,
    "breakage": _breakage,
    "wrong inputs": lambda own: [("wrong inputs: one line, in time and memory", f"{own['count']:,}", own["wrong"])],
    "mutants": _mutants,
    "coverage": _coverage,
    "same": _same,
}
MEANINGS = [
    "A fault counts as wrong if finished work is gone, a file stays half-written, more than one line is said, the same",
    "command does not go on to its end, or its result is not the undisturbed one where that is promised (all but",
    "resumed training).",
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(COMMANDS), help=f"of {', '.join(COMMANDS)} (default: all)")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    arguments = parser.parse_args()
    if arguments.page:
        PAGE.write_text(page(json.loads(FIGURES.read_text())))
        return 0
    ends = [
        subprocess.run([sys.executable, "-m", *COMMANDS[name].split(), "--record"], cwd=ROOT, check=False).returncode
        for name in arguments.names
    ]
    return max(ends, default=0)


if __name__ == "__main__":
    sys.exit(main())
