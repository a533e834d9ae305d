"""The files by which hosts, registries and readers know the project agree with it."""

import re
import tomllib
from pathlib import Path

import yaml

import edgellm_env

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] == edgellm_env.__version__
    assert citation["license"] == PROJECT["license"]


def test_workflows_and_templates_can_be_read() -> None:
    (workflow,) = (ROOT / ".github" / "workflows").glob("*.yml")
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert ".ci/run" in commands
    assert all((ROOT / path).exists() for command in commands for path in re.findall(r"\.ci/\w+", command))
    named = {str(one) for one in jobs["pythons"]["strategy"]["matrix"]["python"]}
    claimed = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", text)}
    assert named | {"3.11"} == claimed
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {"ruff", "format", "mypy"}
    for template in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"):
        assert set(yaml.safe_load(template.read_text().split("---")[1])) == {"name", "about", "labels"}


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert set(targets.split()) == set(re.findall(r"^# make (\w+) ", makefile, re.MULTILINE))
