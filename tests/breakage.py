"""Does any work get lost? Commands that are killed, interrupted, left without disk, workers, rights or a steady clock.

``python -m tests.breakage [COMMANDS ...]`` runs each command undisturbed, then again and again with a fault at a random
moment, and lets the same command continue (``train`` as it says). What must hold: an error or an interrupt is one line
and leaves no half-written file; what was finished is still there; the same command goes on to the end; its result is
the undisturbed one where that is promised. A full disk is a small tmpfs where mounting is allowed, else a limit on the
size of files. Exit status 1 if anything is broken.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.experiments.test_commands import SMALL_CONFIG
from tests.reliability import add_option, record

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 600.0
COMMANDS = {
    "compare": "compare --scenario light --policies fcfs dftsp random --episodes 20 --slots 60 --workers 2 --out {out}",
    "sweep": "sweep --scenario light --set workload.arrival_rate_rps=5,10 --policies fcfs edf --episodes 10 --slots 60 "
    "--workers 2 --out {out}",
    "collect": "collect --scenario light --policy dftsp --episodes 150 --slots 40 --workers 2 --id some/light-v0 "
    "--out {out}",
    "train": "train --scenario light --agent ppo --slots 8 --steps 320 --config {config} --out {out}",
    "study train": "study train --agent cem-linear --scenario light --seed 0 --steps 9000 --slots 20 --episodes 2 "
    "--runs {out}/runs --store {out}/store",
    "study compare": "study compare --scenario light --policies fcfs edf sjf --episodes 5 --store {out}",
    "reproduce": "reproduce --quick --figures latency --workers 2 --out {out}",
}
WITH_WORKERS = ("compare", "sweep", "collect", "reproduce")
UNTIMED = re.compile(r"decision_\w+_s|training_s|seconds|versions|machine|command|created|load_average|resumed")
FAULTS = ("kill", "interrupt", "full", "read-only", "dead worker", "clock", "twice")
# A clock that jumps by up to a day, back and forth, whenever it is read.
JUMPING = "import random, time\n_now = time.time\ntime.time = lambda: _now() + random.uniform(-86400, 86400)\n"


def bare(document):
    """The document without what a clock or a machine says."""
    if isinstance(document, dict):
        if set(document) == {"columns", "values"}:
            document = [dict(zip(document["columns"], row, strict=True)) for row in document["values"]]
            return bare(document)
        return {name: bare(value) for name, value in document.items() if not UNTIMED.fullmatch(name)}
    return [bare(one) for one in document] if isinstance(document, list) else document


def result_of(name, out):
    """What a finished command promises to be the same, whatever happened on the way."""
    if name == "train":  # resumed training is another run than one that was never stopped
        return [path.name for path in out.glob("model.*")]
    if name == "collect":
        import h5py

        (path,) = (path for path in out.rglob("main_data.hdf5") if "collecting" not in str(path))
        state = hashlib.sha256()
        with h5py.File(path, "r") as file:
            file.visititems(
                lambda _, item: state.update(item[()].tobytes()) if isinstance(item, h5py.Dataset) else None
            )
        return state.hexdigest()
    if name in ("sweep", "reproduce"):
        table = out / ("sweep.csv" if name == "sweep" else "figures/latency.csv")
        with table.open(newline="") as file:
            return [
                {key: value for key, value in row.items() if not UNTIMED.fullmatch(key)} for row in csv.DictReader(file)
            ]
    paths = [out / "results.json"] if name == "compare" else sorted(out.rglob("*.json"))
    documents = [bare(json.loads(path.read_text())) for path in paths if "runs" not in path.parts]
    return [one["episodes"] for one in documents] if name == "compare" else documents


class Run:
    """A command in a process group of its own."""

    def __init__(self, words, environment=None, most_bytes=None):
        def limit():
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if most_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments", *words], cwd=ROOT, text=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, start_new_session=True, preexec_fn=limit,  # noqa: PLW1509 - no threads here
            env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        )  # fmt: skip

    def signal_at(self, moment_s, number):
        """Send a signal to the whole group; say whether it came in time."""
        try:
            self.process.wait(moment_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, number)
            return True
        return False

    def kill_worker(self):
        """Kill one of the processes that work for it, once there are some; say whether there was one."""
        deadline_s = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline_s:
            for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
                for child in task.read_text().split():
                    words = Path(f"/proc/{child}/cmdline").read_bytes()
                    if b"spawn_main" in words or b"forkserver" in words:
                        time.sleep(1.5)
                        os.kill(int(child), signal.SIGKILL)
                        return True
            time.sleep(0.05)
        return False

    def end(self):
        _, error = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, error


class Disk:
    """A folder on a file system of its own, with a size and rights that can change; an ordinary one at need."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.mounted = self._mount("size=256m")

    def _mount(self, options):
        words = ["mount", "-t", "tmpfs", "-o", options, "none", str(self.folder)]
        return (
            shutil.which("mount") is not None
            and subprocess.run(words, capture_output=True, check=False).returncode == 0
        )

    def remount(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)

    def close(self):
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


class Trial:
    """One command and one fault, in a folder of its own."""

    def __init__(self, name, words, folder, expected, usual_s, rng):
        self.name, self.expected, self.usual_s, self.rng = name, expected, usual_s, rng
        folder = folder.with_name(folder.name.replace(" ", "-"))
        self.disk = Disk(folder)
        self.out = folder / "out"
        (folder / "small.yaml").write_text(json.dumps(SMALL_CONFIG))
        self.words = shlex.split(words.format(out=self.out, config=folder / "small.yaml"))

    def broken(self, fault):
        """What is wrong after the fault, in words; nothing if all is well, None if the fault came too late."""
        moment_s = self.usual_s * self.rng.uniform(0.1, 1.0)
        status, error = None, ""
        if fault in ("kill", "interrupt"):
            run = Run(self.words)
            if not run.signal_at(moment_s, signal.SIGKILL if fault == "kill" else signal.SIGINT):
                run.end()
                return None
            status, error = run.end()
            # It ended just before, or was ending: the interpreter is on its way out then, and dies without a word.
            if fault == "interrupt" and (status == 0 or (status == -signal.SIGINT and not error)):
                return None
            if fault == "interrupt" and (status, error.count("\n"), error[:11]) != (130, 1, "interrupted"):
                return f"status {status}, said {error[:300]!r}"
        elif fault == "full":
            room = int(2 ** self.rng.uniform(10, 15.5))
            if self.disk.mounted:
                self.disk.remount(f"size={max(8192, room)}")
            status, error = Run(self.words, most_bytes=None if self.disk.mounted else room).end()
            if status == 0:
                return None
            if self.disk.mounted:
                self.disk.remount("size=256m")
            if status != 2 or error.count("\n") != 1 or not re.search("No space left|File too large", error):
                return f"status {status}, said {error[:300]!r}"
        elif fault == "read-only":
            if not self.disk.mounted:
                return None
            self.disk.remount("ro")
            status, error = Run(self.words).end()
            self.disk.remount("rw")
            if status != 2 or error.count("\n") != 1 or "ead-only" not in error:
                return f"status {status}, said {error[:300]!r}"
        elif fault == "dead worker":
            run = Run(self.words)
            found = run.kill_worker()
            status, error = run.end()
            if not found:
                return None
            if status != 0:
                return f"status {status}, said {error[:300]!r}"
        elif fault == "clock":
            (self.disk.folder / "sitecustomize.py").write_text(JUMPING)
            status, error = Run(self.words, {"PYTHONPATH": f"{self.disk.folder}:{ROOT}"}).end()
            if status != 0:
                return f"status {status}, said {error[:300]!r}"
        else:
            runs = [Run(self.words), Run(self.words)]
            ends = sorted((run.end() for run in runs), key=lambda one: one[0])
            one_line = ends[1][0] == 2 and ends[1][1].count("\n") == 1 and "another process is " in ends[1][1]
            if ends[0][0] != 0 or not (one_line or (ends[1][0] == 0 and self.name.startswith("study"))):
                return f"two at once: {ends}"
        left = [path.name for path in self.out.rglob("*.partial")]
        if left and fault in ("interrupt", "full", "read-only"):
            return f"half-written files stay: {left}"
        return self._continue(error)

    def _continue(self, error):
        kept = {path: path.read_bytes() for path in self.out.rglob("done.jsonl")}
        more = ["--resume"] if self.name == "train" and any((self.out / "checkpoints").glob("*.safetensors")) else []
        if self.name == "train" and not more and (self.out / "run.json").exists():
            shutil.rmtree(self.out)  # "to begin anew, remove it"
        finished = (self.out / "model.safetensors").exists()
        if not (self.name == "train" and finished):
            status, error = Run([*self.words, *more]).end()
            if status != 0:
                return f"does not go on: status {status}, said {error[:300]!r}"
        for path, content in kept.items():
            whole = content[: content.rfind(b"\n") + 1]
            if path.exists() and not path.read_bytes().startswith(whole):
                return f"{path.name}: what was finished is gone"
        return "" if result_of(self.name, self.out) == self.expected else "another result than undisturbed"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.breakage", description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", default=list(COMMANDS), help="which (default: all)")
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=FAULTS, help="which (default: all)")
    parser.add_argument(
        "--tries", type=int, default=2, help="of each fault with a random moment (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    add_option(parser)
    arguments = parser.parse_args()
    rng, counts, wrong = np.random.default_rng(arguments.seed), {fault: [0, 0] for fault in arguments.faults}, 0
    with tempfile.TemporaryDirectory(prefix="edgellm-breakage-", ignore_cleanup_errors=True) as folder:
        for name in arguments.commands:
            began = time.monotonic()
            undisturbed = Trial(name, COMMANDS[name], Path(folder) / f"{name} undisturbed", None, 0.0, rng)
            try:
                status, error = Run(undisturbed.words).end()
                if status:
                    raise RuntimeError(f"{name}, undisturbed: {error}")
                usual_s, expected = time.monotonic() - began, result_of(name, undisturbed.out)
            finally:
                undisturbed.disk.close()
            for fault in arguments.faults:
                if fault == "dead worker" and name not in WITH_WORKERS:
                    continue
                for attempt in range(arguments.tries if fault in ("kill", "interrupt", "full") else 1):
                    trial = Trial(
                        name, COMMANDS[name], Path(folder) / f"{name} {fault} {attempt}", expected, usual_s, rng
                    )
                    try:
                        broken = trial.broken(fault)
                    finally:
                        trial.disk.close()
                    counts[fault][0] += broken is not None
                    counts[fault][1] += bool(broken)
                    said = "came too late" if broken is None else broken or "nothing lost"
                    print(f"{name:<14} {fault:<12} {said}", flush=True)
    wrong = sum(bad for _, bad in counts.values())
    total = sum(tried for tried, _ in counts.values())
    print(f"{total} faults, {wrong} broken")
    if arguments.record:
        faults = {fault: {"tried": tried, "broken": bad} for fault, (tried, bad) in counts.items()}
        record("breakage", {"commands": len(arguments.commands), "faults": faults})
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
