"""Nothing that users give is unpickled: no file, but for stable-baselines3's own where that is asked for."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [path for package in ("edgellm_env", "agents", "experiments") for path in (ROOT / package).rglob("*.py")]
UNPICKLES = re.compile(
    r"torch\.load|torch\.save|\bpickle\b|cloudpickle|joblib|shelve|marshal|allow_pickle|np\.load|"
    r"load_from_zip_file|load_from_pkl|\.set_parameters\(|(PPO|Algorithm)\.load\(|yaml\.(unsafe_|full_)?load\("
)
ALLOWED = {
    ("agents/learned.py", 'return cls(PPO.load(path, device="cpu").policy, name)'),  # PpoPolicy.load_foreign
    ("edgellm_env/settings.py", "return yaml.load(text, Loader=_Loader)"),  # a SafeLoader
}


def test_no_source_unpickles() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), line.strip())
        for path in SOURCES
        for line in path.read_text(encoding="utf-8").splitlines()
        if UNPICKLES.search(line) and not line.strip().startswith("#")
    }
    assert found == ALLOWED


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
