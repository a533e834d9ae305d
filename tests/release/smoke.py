"""Makes and steps every id on every shipped scenario, in an environment that has the installed package alone.

``.ci/artefacts`` runs it outside the checkout, on the installed sdist and on the installed wheel:
``smoke.py TRACE [DISTS CHECKOUT]``. In the artefacts of ``DISTS``, a folder, all files of the checkout's package are
looked for first.
"""

import importlib.util
import sys
import tarfile
import zipfile
from pathlib import Path


def names_in(artefact: Path) -> list[str]:
    """Return the names of the files that an sdist or a wheel holds."""
    if artefact.suffix == ".whl":
        return zipfile.ZipFile(artefact).namelist()
    with tarfile.open(artefact) as archive:
        return archive.getnames()


def check_artefacts(folder: Path, checkout: Path) -> None:
    """Exit with a line if a file is missing from the sdist or from the wheel."""
    artefacts = [*folder.glob("*.tar.gz"), *folder.glob("*.whl")]
    if len(artefacts) != 2:
        raise SystemExit(f"{folder}: {[path.name for path in artefacts]}; expected an sdist and a wheel")
    files = [checkout / "LICENSE", *(checkout / "edgellm_env").rglob("*")]
    wanted = [str(path.relative_to(checkout)) for path in files if path.is_file() and path.parent.name != "__pycache__"]
    for artefact in artefacts:
        names = names_in(artefact)
        missing = [name for name in wanted if not any(held.endswith(name) for held in names)]
        if missing:
            raise SystemExit(f"{artefact.name}: lacks {', '.join(missing)}")


def main() -> None:
    """Check the artefacts, then play a few steps everywhere, single and vector."""
    trace = sys.argv[1]
    if len(sys.argv) > 2:
        check_artefacts(Path(sys.argv[2]), Path(sys.argv[3]))
    import gymnasium as gym

    import edgellm_env

    for name in ("agents", "experiments", "torch", "stable_baselines3", "matplotlib"):
        if importlib.util.find_spec(name) is not None:
            raise SystemExit(f"{name} is importable; expected edgellm_env alone")
    count = 0
    for environment_id in edgellm_env.ENVIRONMENT_IDS:
        for scenario in edgellm_env.scenario_names():
            if "Joint" in environment_id and edgellm_env.load_scenario(scenario).serving.kind == "continuous":
                continue  # a continuous node has one quantization scheme
            arguments = {"scenario": scenario} | ({"trace": trace} if scenario == "azure-conv" else {})
            environment = gym.make(environment_id, **arguments)
            environment.reset(seed=0)
            environments = gym.make_vec(environment_id, num_envs=2, **arguments)
            environments.reset(seed=0)
            for _ in range(3):
                environment.step(environment.action_space.sample())
                environments.step(environments.action_space.sample())
            environment.close()
            environments.close()
            count += 1
    versions = f"python {sys.version.split()[0]}, gymnasium {gym.__version__}"
    print(f"{count} pairs of id and scenario made and stepped; {versions}")


if __name__ == "__main__":
    main()
