"""Training runs: the folder of each says what is trained, so that it can be used, continued and understood."""

import json
import time
from pathlib import Path

from agents.files import OutputError, write_json, write_text
from agents.learning.runs import ABOUT, SCENARIO, Learner, Run
from agents.models.storage import COLUMNS, MODEL
from agents.registry import LearnerName
from edgellm_env.node.features import fingerprint
from edgellm_env.scenario import load_scenario
from experiments.grid.ledger import require_same
from experiments.results.provenance import metadata


def train_run(agent: LearnerName, learner: Learner, run: Run, command: str | None = None) -> Path:
    """Train, or continue what the run's folder holds; return the model's path.

    Args:
        agent: the learner's name.
        learner: that one.
        run: what it is to learn.
        command: to note as the one that trains this; the one that is running unless given.

    Raises:
        OutputError: the folder holds a run already, or to resume none or another one; nothing has been trained then.
    """
    about = {
        "agent": agent,
        "seed": run.seed,
        "steps": run.steps,
        "hyper_parameters": learner.model_dump(mode="json"),
        COLUMNS: fingerprint(),
        **metadata(run.scenario, command),
    }
    path, before_s = run.folder / ABOUT, 0.0
    if run.resume:
        if not path.is_file():
            raise OutputError(f"out: {run.folder} holds no training run to --resume")
        before = json.loads(path.read_text(encoding="utf-8"))
        same = ("agent", "seed", "hyper_parameters", "scenario_checksum", COLUMNS)
        require_same({name: about[name] for name in same}, before, run.folder)
        if load_scenario(run.folder / SCENARIO).checksum != run.scenario.checksum:
            raise OutputError(f"{run.folder / SCENARIO}: changed since the run began")
        before_s = before.get("training_s", 0.0)
        about |= {"training_s": before_s, "resumed": [*before.get("resumed", []), before["command"]]}
    elif path.exists() or (run.folder / MODEL).exists():
        raise OutputError(f"out: {run.folder} holds a training run; expected another folder, or --resume")
    else:
        write_text(run.folder / SCENARIO, run.scenario.to_yaml())
    write_json(path, about)
    began_s = time.monotonic()
    model = learner.train(run)
    write_json(path, about | {"training_s": round(before_s + time.monotonic() - began_s, 1)})
    return model
