import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "edgellm_env").rglob("*.py"))


def test_extras_serve_what_the_wheel_contains() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras) == {"bounds", "render", "sb3"}
    for wanted in [requirement for requirements in extras.values() for requirement in requirements]:
        module = re.match(r"[\w-]+", wanted)[0].removesuffix("-ce").replace("-", "_")  # type: ignore[index]
        assert re.search(rf"^\s*(import|from) {module}\b", PACKAGE, re.MULTILINE), (
            f"{wanted} serves nothing in the wheel"
        )


def test_what_an_extra_installs_a_group_installs_alike() -> None:
    groups = PROJECT["dependency-groups"].values()
    requirements = {one for group in groups for one in group if isinstance(one, str)}
    assert {one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra} <= requirements


def test_messages_name_groups_that_exist() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "experiments").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r'require\("[\w.]+", "(\w+)"\)|--group (\w+)', text)}
    flat = {name for pair in named for name in pair if name}
    assert flat
    assert flat <= set(PROJECT["dependency-groups"])
