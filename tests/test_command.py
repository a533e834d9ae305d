"""``python -m edgellm_env`` by itself: what it lists, what it checks, and a slot as text."""

import subprocess
import sys

import gymnasium as gym
import pytest

import edgellm_env
from edgellm_env.__main__ import POLICIES, main


def test_without_a_command_everything_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [*edgellm_env.ENVIRONMENT_IDS, *edgellm_env.scenario_names()]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_slot_is_played_as_text(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["play", "tiny", "--policy", policy, "--slots", "2"])
    text = capsys.readouterr().out
    environment = gym.make("EdgeLLM/Batch-v0", scenario="tiny", render_mode="ansi")
    environment.reset(seed=0)
    assert text.startswith(str(environment.render()))
    assert text.count(f"{policy} serves [") == 2


@pytest.mark.parametrize(
    ("words", "said"), [(["nowhere"], "'nowhere' is neither"), (["tiny", "--seed", "-1"], "seed: -1")]
)
def test_what_cannot_be_played_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["play", *words])
    assert left.value.code == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_installation_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check"])
    text = capsys.readouterr().out
    assert "machine code" in text
    assert text.count(": well") == 2 * len(edgellm_env.ENVIRONMENT_IDS) - 1


def test_importing_the_package_imports_no_heavy_one() -> None:
    code = "import sys, edgellm_env; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "edgellm_env" in loaded
    assert not loaded & {"torch", "matplotlib", "pygame", "ray", "minari", "stable_baselines3", "edgellm_env.solvers"}
