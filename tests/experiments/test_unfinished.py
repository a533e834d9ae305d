"""A command that ends early says so in one line, with what is kept and how to go on; nothing is half-written."""

import ctypes
import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments import __main__ as command_line
from experiments.__main__ import COMMANDS, main

OUT_OF_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
AGAIN = "what is finished is kept, and the same command continues: python -m experiments "
CONTINUED = {
    "compare": "--out {out}",
    "sweep": "--out {out} --set timing.slot_s=1",
    "reproduce": "--out {out}",
    "collect": "--out {out}",
    "study train": "--agent ppo --scenario light --runs {out}",
    "study compare": "--scenario light --store {out}",
    "study perturb": "--scenario light --store {out}",
}
NOTHING_KEPT = {
    "report": "results --out {out}",
    "tune": "lookahead --scenario light",
    "benchmark decisions": "",
    "benchmark collect": "",
    "census": "--out {out}",
    "verify": "some/dataset-v0",
    "trace-info": "file.csv",
}


def end_with(error: BaseException, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command end with an error as soon as it runs."""

    def run(*_: Any) -> None:
        raise error

    monkeypatch.setattr(command_line._load(name), "run", run)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What a command wrote on the standard error: one line."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error.rstrip("\n")


@pytest.mark.parametrize("name", sorted(CONTINUED))
def test_what_can_be_continued_says_how(name, tmp_path, monkeypatch, capsys):
    words = shlex.split(f"{name} {CONTINUED[name]}".format(out=tmp_path))
    end_with(KeyboardInterrupt(), name, monkeypatch)
    assert main(words) == 130
    assert said(capsys) == f"interrupted; {AGAIN}{shlex.join(words)}"
    end_with(OUT_OF_SPACE, name, monkeypatch)
    assert main(words) == 2
    assert said(capsys) == f"error: No space left on device; {AGAIN}{shlex.join(words)}"


@pytest.mark.parametrize("name", sorted(NOTHING_KEPT))
def test_what_can_not_be_continued_says_that_nothing_is_kept(name, tmp_path, monkeypatch, capsys):
    end_with(KeyboardInterrupt(), name, monkeypatch)
    assert main(shlex.split(f"{name} {NOTHING_KEPT[name]}".format(out=tmp_path))) == 130
    assert said(capsys) == "interrupted; nothing is kept"


def test_training_is_continued_from_its_newest_checkpoint(tmp_path, monkeypatch, capsys):
    end_with(KeyboardInterrupt(), "train", monkeypatch)
    words = ["train", "--out", str(tmp_path)]
    assert main(words) == 130
    assert said(capsys) == "interrupted; no checkpoint was reached, nothing is kept"
    (tmp_path / "run.json").write_text("{}")
    assert main(words) == 130
    assert said(capsys).endswith(f"nothing is kept; to begin anew, remove {tmp_path}")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_000000064.zip.1.partial").write_text("half")
    assert main(words) == 130
    assert "no checkpoint was reached" in said(capsys)
    (tmp_path / "checkpoints" / "step_000000064.zip").write_text("whole")
    for more in ([], ["--resume"]):
        assert main(words + more) == 130
        kept = f"interrupted; the newest checkpoint is kept; to continue: python -m experiments train --out {tmp_path}"
        assert said(capsys) == f"{kept} --resume"


def test_an_interrupt_before_the_command_is_known_ends_in_a_line_too(monkeypatch, capsys):
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "_load", interrupted)
    assert main(["compare"]) == 130
    assert said(capsys) == "interrupted; nothing was begun"


@ctypes.CFUNCTYPE(None)
def interrupted_in_c() -> None:
    raise KeyboardInterrupt


def test_an_interrupt_that_is_lost_between_c_and_python_is_none_the_less_one(monkeypatch, capsys):
    def run(*_: Any) -> None:
        interrupted_in_c()
        time.sleep(30)

    monkeypatch.setattr(command_line._load("compare"), "run", run)
    began_s = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # these tests may run where it is ignored
    try:
        assert main(["compare", "--out", "x"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert said(capsys) == f"interrupted; {AGAIN}compare --out x"
    assert time.monotonic() - began_s < 20


def test_a_lost_interrupt_is_not_sent_again_once_the_command_has_ended(monkeypatch, capsys):
    def run(*_: Any) -> None:
        interrupted_in_c()
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line._load("compare"), "run", run)
    arrived = []
    before = signal.signal(signal.SIGINT, lambda *_: arrived.append(True))
    try:
        assert main(["compare", "--out", "x"]) == 130
        time.sleep(0.3)  # a lost one is sent again after a third of that
    finally:
        signal.signal(signal.SIGINT, before)
    assert not arrived
    assert said(capsys) == f"interrupted; {AGAIN}compare --out x"


def test_memory_that_is_not_there_is_an_error_of_one_line(monkeypatch, capsys):
    end_with(MemoryError(), "compare", monkeypatch)
    assert main(["compare", "--out", "x"]) == 2
    assert said(capsys) == "error: not enough memory"


def test_every_command_says_what_becomes_of_its_work():
    unknown = {name for name in COMMANDS if not hasattr(command_line._load(name), "kept")}
    assert set(COMMANDS) - unknown == {*CONTINUED, "train"}


@pytest.mark.parametrize(
    ("full_at", "kept_rows"), [("done.jsonl", 0), ("recordings.json.gz", 4), ("results.json", 4), ("throughput.png", 4)]
)
def test_rows_that_were_played_outlast_a_full_disk(full_at, kept_rows, tmp_path, monkeypatch, capsys):
    """Whatever file there is no room for: its name is said, no half of it stays, the same command needs no row anew."""
    out, sync = tmp_path / "out", os.fsync
    words = ["compare", "--scenario", "tiny", "--policies", "fcfs", "edf", "--episodes", "10", "--out", str(out)]

    def full(descriptor: int) -> None:
        name = re.sub(r"\.\d+\.partial$", "", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        if name == full_at:
            raise OUT_OF_SPACE
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert main(words) == 2
    assert said(capsys) == f"error: {out / full_at}: No space left on device; {AGAIN}{shlex.join(words)}"
    assert not list(out.glob("*.partial"))
    assert full_at == "done.jsonl" or not (out / full_at).exists()
    monkeypatch.undo()
    assert len((out / "done.jsonl").read_text().splitlines()) >= kept_rows
    assert main(words) == 0
    assert (out / full_at).exists() or full_at == "done.jsonl"


def test_an_interrupt_inside_exec_ends_with_the_same_status(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("exec('raise KeyboardInterrupt')\n")
    words = ["-m", "experiments", "compare", "--policies", "own:decide@EdgeLLM/Batch-v0", "--out", str(tmp_path / "x")]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
    )  # fmt: skip
    assert done.stderr.startswith("interrupted; ")
    assert done.returncode == 130
