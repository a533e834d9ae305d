"""The files by which hosts, registries and readers know the project agree with it."""

import os
import re
import shutil
import subprocess
import sys
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


def test_a_release_is_refused_or_tagged_with_its_notes(tmp_path: Path) -> None:
    """The artefacts have a script of their own, which a stub takes the place of."""
    git = ["git", "-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for name in ("pyproject.toml", "CHANGELOG.md", "CITATION.cff", "edgellm_env/__init__.py", ".ci/release"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".ci" / "artefacts").write_text('#!/bin/sh\nmkdir -p "$KEEP"\n')
    (tmp_path / ".ci" / "artefacts").chmod(0o755)

    def release() -> subprocess.CompletedProcess[str]:
        command, environment = [tmp_path / ".ci" / "release"], {**os.environ, "PYTHON": sys.executable}
        environment |= {f"GIT_{who}_{what}": "tests" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    assert "CHANGELOG.md: no part '## [" in release().stderr
    changelog = (tmp_path / "CHANGELOG.md").read_text().replace("## [Unreleased]", f"## [{PROJECT['version']}]")
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    assert "the working tree has changes" in release().stderr
    subprocess.run([*git, "add", "-A"], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-qm", "all"], cwd=tmp_path, check=True)
    assert release().returncode == 0
    tag = subprocess.run(["git", "tag", "-n9"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert tag.startswith(f"v{PROJECT['version']} ")
    assert "### Added" in tag
    assert "exists" in release().stderr
