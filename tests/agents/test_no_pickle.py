"""Nothing that users give runs: no file is unpickled, but for stable-baselines3's own where that is asked for."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [path for package in ("edgellm_env", "agents", "experiments") for path in (ROOT / package).rglob("*.py")]
UNPICKLES = re.compile(
    r"torch\.load|torch\.save|\bpickle\b|cloudpickle|joblib|shelve|marshal|allow_pickle|np\.load|"
    r"load_from_zip_file|load_from_pkl|\.set_parameters\(|(PPO|Algorithm)\.load\(|yaml\.(unsafe_|full_)?load\("
)
RUNS = re.compile(
    r"(?<![\w.])(?<!def )(eval|exec|compile|__import__)\(|os\.(system|popen|exec\w+|spawn\w+)\(|shell=True|"
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|new Function"
)
ALLOWED = {
    ("agents/learned.py", 'return cls(PPO.load(path, device="cpu").policy, name)'),  # PpoPolicy.load_foreign
    ("edgellm_env/settings.py", "return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader"),  # a SafeLoader
}


def test_no_source_unpickles() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), line.strip())
        for path in SOURCES
        for line in path.read_text(encoding="utf-8").splitlines()
        if UNPICKLES.search(line) and not line.strip().startswith("#")
    }
    assert found == ALLOWED


def test_no_source_runs_texts_or_reads_them_as_html() -> None:
    scripts = list((ROOT / "experiments/report/static").glob("*.js"))
    assert scripts
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (*SOURCES, *scripts)
        for line in path.read_text(encoding="utf-8").splitlines()
        if RUNS.search(line)
    ]
    assert found == []


def test_what_ships_is_text_and_safetensors() -> None:
    for folder in ("edgellm_env", "agents", "experiments", "configs"):
        kinds = {
            path.suffix for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        }
        assert kinds <= {
            ".py",
            ".typed",
            ".yaml",
            ".json",
            ".safetensors",
            ".j2",
            ".js",
            ".css",
            ".html",
            ".md",
            ".gz",
            ".bib",
        }
