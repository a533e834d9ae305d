"""Gives wrong inputs to the project, in a process with little memory; prints, as JSON, what went wrong in that.

python -m tests.wrong_inputs.worker SEED COUNT [FOLDER] [--record]
"""

import contextlib
import io
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import gymnasium as gym

from tests.reliability import ROOT, record
from tests.wrong_inputs.generator import KINDS, Case, cases

REFUSALS = (ValueError, TypeError, RuntimeError, gym.error.Error)
"""Classes that the documentation names for what is given to Python; the command line has status 2."""

GYM_NOTICE = re.compile(r"Gym has been unmaintained.*?additional information\.\n", re.DOTALL)
"""What the package ``gym`` prints when something imports it, as stable-baselines3 does where it is installed."""

MOST_BYTES, MOST_S, HANGS_S, MOST_CHARACTERS = 2_000_000_000, 10.0, 300, 300


class HangError(BaseException):
    """Nothing comes of it."""


def give(case: Case, folder: Path) -> str:
    """Give a case to the project in a new folder; return what is wrong with how it is treated, or nothing."""
    (folder / "work").mkdir(parents=True)
    os.chdir(folder / "work")
    printed, said = io.StringIO(), io.StringIO()
    began_s = time.process_time()
    signal.alarm(HANGS_S)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            status = case.give(folder)
    except REFUSALS as error:
        text = str(error)
        if len(text.splitlines()) > 1 or len(text) > MOST_CHARACTERS + gym_adds(text):
            return f"{type(error).__name__} of {len(text)} characters: {text[:100]!r}"
    except HangError:
        return "hangs"
    except BaseException as error:
        return f"traceback: {type(error).__name__}: {str(error)[:100]!r}"
    else:
        error_text = GYM_NOTICE.sub("", said.getvalue())
        if type(status) is int and status not in (0, 2):
            return f"status {status}: {error_text[:100]!r}"
        if status == 2 and not (error_text.count("\n") == 1 and len(error_text) <= len("error: \n") + MOST_CHARACTERS):
            return f"{len(error_text)} characters in {len(error_text.splitlines())} lines: {error_text[:100]!r}"
    finally:
        signal.alarm(0)
    used_s = time.process_time() - began_s
    return f"{used_s:.1f} s" if used_s > MOST_S else ""


def gym_adds(text: str) -> int:
    """How many characters of an error's text are Gymnasium's: it repeats the arguments of what refuses them."""
    before, _, after = text.partition(" was raised from the environment creator for ")
    return len(after) and len(text) - len(before)


def hang(*_: object) -> None:
    """Stop waiting."""
    raise HangError


def run(seed: int, count: int, root: Path) -> list[str]:
    """Give so many cases to the project; return what went wrong."""
    # One of each kind beforehand: what is imported or compiled on first use counts against none.
    for number, case in enumerate(cases(seed + 1, 2 * len(KINDS))):
        give(case, root / f"first-{number}")
    wrong = []
    for number, case in enumerate(cases(seed, count)):
        what = give(case, root / str(number))
        if what.endswith(" s"):  # perhaps compiled on first use
            what = give(case, root / f"{number}-again")
        if what:
            wrong.append(f"{number} {case.name}: {what}")
    return wrong


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    signal.signal(signal.SIGALRM, hang)
    seed, count, *more = (word for word in sys.argv[1:] if word != "--record")
    with tempfile.TemporaryDirectory() as own:
        found = run(int(seed), int(count), Path(more[0] if more else own))
        os.chdir(ROOT)
    print(json.dumps({"wrong": found, "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
    if "--record" in sys.argv:
        record("wrong inputs", {"count": int(count), "wrong": len(found)})
