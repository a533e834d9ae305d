"""Machine code on disk: never older than its sources, and no condition for working."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import edgellm_env
from edgellm_env import ENVIRONMENT_IDS, scenario_names
from edgellm_env._compile import _KeyedFile, _share
from edgellm_env._compile_plain import compile_at_once, plain
from edgellm_env.env.slots import Slots
from tests.conftest import CONTINUOUS
from tests.digest import play_single

PACKAGE = Path(edgellm_env.__file__).parent
FITS = """
import numpy as np
from edgellm_env import SlotProblem
from edgellm_env.workload.philox import uniforms
uniforms(np.uint64(1), 2, 3)
one = np.ones(1)
problem = SlotProblem(one, one, one, one, 5.0 * one, compute_limit_s=1.5, memory_bytes=2.0)
print(problem.is_feasible(np.ones(1, dtype=np.bool_)))
"""


def run(code: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def copied(folder: Path) -> Path:
    """Copy the package without machine code; return the copy's folder."""
    copy = folder / "edgellm_env"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_editing_a_kernel_that_others_inline_takes_effect_at_once(tmp_path: Path) -> None:
    copy = copied(tmp_path)
    assert run(FITS, tmp_path) == "True"
    assert list(copy.rglob("*.nbi")), "machine code was to be kept"
    (source,) = [path for path in copy.rglob("*.py") if "def within(" in path.read_text()]
    text = source.read_text()
    line = "return used <= limit + RELATIVE_TOLERANCE * abs(limit)"
    assert line in text
    # ``within`` is inlined into the check, which is another function and may be in another file.
    source.write_text(text.replace(line, "return used <= 0.5 * limit"))
    assert run(FITS, tmp_path) == "False"


def test_machine_code_whose_types_have_another_name_now_is_compiled_anew(tmp_path: Path) -> None:
    copy = copied(tmp_path)
    assert run(FITS, tmp_path) == "True"
    renamed = 0
    for path in copy.rglob("*.py"):
        text = path.read_text()
        path.write_text(re.sub(r"\bAccount\b", "Ledger", text))
        renamed += "class Account(" in text
    assert renamed == 1
    assert run(FITS, tmp_path) == "True"


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root writes everywhere")
def test_a_read_only_installation_without_a_home_works(tmp_path: Path) -> None:
    copied(tmp_path)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = [sys.executable, "-c", FITS]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", *command]
    try:
        done = subprocess.run(
            command,
            cwd="/",
            env={"PYTHONPATH": str(tmp_path), "HOME": "/nonexistent", "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for path in [tmp_path, *tmp_path.rglob("*")]:
            path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
    assert not list(tmp_path.rglob("*.nbi"))


def is_compiled(function: ast.AST) -> bool:
    return isinstance(function, ast.FunctionDef) and any(
        "compil" in ast.unparse(decorator) for decorator in function.decorator_list
    )


def test_compiled_functions_use_names_of_modules_whose_sources_are_in_the_digest_alone() -> None:
    trees = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
    digested = {path for path in trees if "_compile import" in path.read_text()}
    used_names = 0
    for path in digested:
        used = {
            name.id
            for function in ast.walk(trees[path])
            if is_compiled(function)
            for statement in function.body  # type: ignore[attr-defined]
            for name in ast.walk(statement)
            if isinstance(name, ast.Name)
        }
        for node in ast.walk(trees[path]):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("edgellm_env."):
                continue
            module = PACKAGE.parent / (node.module or "").replace(".", "/")
            for alias in node.names:
                if (alias.asname or alias.name) in used:
                    used_names += 1
                    sources = {module.with_suffix(".py"), module / f"{alias.name}.py", module / "__init__.py"}
                    assert sources & digested, f"{path.name}: {alias.name} of {node.module}, which is in no digest"
    assert used_names > 30


@pytest.mark.parametrize("scenario_name", ["balanced", "chat"])
def test_playing_keeps_no_reference_to_a_nodes_arrays(environment_id: str, scenario_name: str) -> None:
    """Compiled code that counts references wrongly keeps arrays for ever, or frees them too early."""
    envs = gym.make_vec(environment_id, num_envs=2, scenario=scenario_name)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    held = [array for array in envs.unwrapped.engine.dynamics.nodes if array is not None]
    before = [sys.getrefcount(array) for array in held]
    for _ in range(20):
        slots = Slots(envs.unwrapped.engine)
        slots.pack(np.zeros(slots.waits.shape))
        envs.step(envs.action_space.sample())
    del slots
    assert [sys.getrefcount(array) for array in held] == before


def test_two_processes_that_compile_at_once_never_get_each_others_code(tmp_path: Path) -> None:
    """Both see an index without entries, write one each, and the index of the second is what stays."""

    def file() -> _KeyedFile:
        return _KeyedFile(cache_path=str(tmp_path), filename_base="f", source_stamp="now")

    class Late(_KeyedFile):
        def _load_index(self) -> dict[str, str]:
            return {}  # as it was before the first wrote

    file().save("floats", "code for floats")
    Late(cache_path=str(tmp_path), filename_base="f", source_stamp="now").save("integers", "code for integers")
    assert file().load("integers") == "code for integers"
    assert file().load("floats") in (None, "code for floats")
    file().save("floats", "code for floats")
    assert (file().load("floats"), file().load("integers")) == ("code for floats", "code for integers")


def test_plain_python_reads_and_writes_the_fields_of_a_record() -> None:
    nodes = np.zeros(2, dtype=[("served", np.int64)])

    def serve(node: Any) -> None:
        node.served += 1

    plain(serve)(nodes[1])
    assert nodes["served"].tolist() == [0, 1]


def bits_by_scenario() -> dict[str, str]:
    """Play every scenario, an id after the other, and return a hash of what each gives."""
    found = {}
    for place, scenario in enumerate(scenario_names()):
        ids = [one for one in ENVIRONMENT_IDS if not ("Joint" in one and scenario in CONTINUOUS)]
        found[scenario] = play_single(ids[place % len(ids)], scenario)
    return found


def test_plain_python_and_machine_code_give_the_same_bits() -> None:
    code = "import json; from tests.test_compile import bits_by_scenario; print(json.dumps(bits_by_scenario()))"
    compile_at_once()
    assert json.loads(run(code, PACKAGE.parent, NUMBA_DISABLE_JIT="1")) == bits_by_scenario()


@pytest.mark.parametrize("scenario", ["balanced", "chat"])
def test_first_steps_need_no_machine_code_and_a_long_run_gets_it(scenario: str, tmp_path: Path) -> None:
    copy = copied(tmp_path)
    first = f"""
import gymnasium as gym, edgellm_env
env = gym.make("EdgeLLM/Batch-v0", scenario="{scenario}")
env.reset(seed=0)
env.step(env.action_space.sample())
"""
    run(first, tmp_path)
    assert not list(copy.rglob("*.nbi"))
    more = """
from edgellm_env._compile_plain import Plain
while Plain.spent_s < 2.0:
    env.step(env.action_space.sample())
    env.reset()
env.step(env.action_space.sample())
"""
    run(first + more, tmp_path)
    assert list(copy.rglob("*play_selected*.nbi"))


@pytest.mark.parametrize(("size", "threads"), [(100, 1), (100, 3), (2, 3)])
def test_blocks_are_all_rows_once(size: int, threads: int) -> None:
    seen: list[int] = []
    _share(size, lambda first, last: seen.extend(range(first, last)), threads)
    assert sorted(seen) == list(range(size))
