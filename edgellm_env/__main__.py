"""``python -m edgellm_env``: what there is, whether the installation works, and a slot as text."""

import argparse
import inspect
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import gymnasium as gym
import numpy as np

from edgellm_env import ENVIRONMENT_IDS, SlotProblem, load_scenario, scenario_names
from edgellm_env.arrays import BoolArray
from edgellm_env.node import step
from edgellm_env.settings import one_line
from edgellm_env.slot.packing import pack_in_order
from edgellm_env.solvers import solve_dftsp, solve_exact

POLICIES: dict[str, Callable[[SlotProblem], BoolArray]] = {
    "dftsp": lambda problem: solve_dftsp(problem).selection,
    "exact": lambda problem: solve_exact(problem).selection,
    "fcfs": lambda problem: pack_in_order(problem, np.arange(problem.size)),
    "sjf": lambda problem: pack_in_order(problem, problem.compute_s.argsort(kind="stable")),
}
"""What ``play`` can decide by; policies that look past a slot come with the checkout."""

_STEPS = 4


def show() -> None:
    """Print every environment id and every scenario, a line each."""
    for environment_id in ENVIRONMENT_IDS:
        kind = gym.envs.registration.load_env_creator(str(gym.spec(environment_id).entry_point))
        print(f"{environment_id:<20} {(inspect.getdoc(kind) or '').splitlines()[0]}")
    for name in scenario_names():
        scenario = load_scenario(name)
        print(f"{name:<20} {scenario.serving.kind}: {one_line(scenario.description)}")


def check() -> None:
    """Play every id on both kinds of node, single and vector, and print what the installation is like.

    Raises:
        RuntimeError: a single environment and a vector environment that disagree.
    """
    versions = ", ".join(f"{name} {version(name)}" for name in ("gymnasium", "numpy", "numba", "pydantic"))
    print(f"edgellm_env {version('edgellm_env')} in {Path(__file__).parent}")
    print(f"Python {platform.python_version()} on {platform.platform()}; {versions}")
    place = getattr(getattr(step.find_infeasible, "_cache", None), "cache_path", None)
    print(f"machine code is kept in {place}" if place else "machine code can't be kept: every process compiles anew")
    for environment_id in ENVIRONMENT_IDS:
        for scenario in ("quantized",) if "Joint" in environment_id else ("balanced", "chat"):
            start_s = time.process_time()
            single = gym.make(environment_id, scenario=scenario)
            vector = gym.make_vec(environment_id, num_envs=2, scenario=scenario)
            single.reset(seed=1)
            vector.reset(seed=0)  # environment i gets this seed and i
            vector.action_space.seed(0)
            for _ in range(_STEPS):
                actions = vector.action_space.sample()
                alone, together = single.step(actions[1])[1], vector.step(actions)[1][1]
                if alone != together:
                    raise RuntimeError(f"{environment_id} on {scenario}: {alone} served alone, {together} in a vector")
            print(f"{environment_id} on {scenario}: well, {time.process_time() - start_s:.1f} s of CPU time")


def play(scenario: str, policy: str, slots: int, seed: int) -> None:
    """Print slots as text, and what the policy serves in each.

    Raises:
        ValueError: a scenario or seed that can't be used.
    """
    environment = gym.make("EdgeLLM/Batch-v0", scenario=scenario, render_mode="ansi")
    _, info = environment.reset(seed=seed)
    for _ in range(slots):
        print(environment.render())
        problem = environment.get_wrapper_attr("slot_problem")()
        batch = POLICIES[policy](problem)
        print(f"{policy} serves {np.flatnonzero(batch).tolist()}\n")
        _, _, _, over, info = environment.step(environment.get_wrapper_attr("to_action")(batch))
        if over:
            break
    print(f"{info['served']} of {info['arrived']} requests served, {info['waiting']} wait")


def main(words: Sequence[str] | None = None) -> None:
    """Run the command that the words of the command line name."""
    parser = argparse.ArgumentParser("python -m edgellm_env", description="Without a command: ids and scenarios.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("check", help="check the installation: compiles and plays every environment id")
    defaults = argparse.ArgumentDefaultsHelpFormatter
    played = commands.add_parser("play", help="play slots as text", formatter_class=defaults)
    played.add_argument("scenario", help="a shipped scenario's name, or the path of a YAML file")
    played.add_argument("--policy", choices=POLICIES, default="dftsp", help="what decides")
    played.add_argument("--slots", type=int, default=1, help="how many slots")
    played.add_argument("--seed", type=int, default=0, help="the episode's seed")
    given = vars(parser.parse_args(words))
    try:
        {None: show, "check": check, "play": play}[given.pop("command")](**given)  # type: ignore[operator]
    except (ValueError, RuntimeError) as error:
        parser.exit(1, f"{one_line(str(error))}\n")


if __name__ == "__main__":
    main()
