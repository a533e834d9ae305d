"""Every code block of the documentation runs as it stands, or says why not."""

import os
import sys
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT, blocks_of, run_page

ELSEWHERE = {
    "README.md": "tests/experiments/test_readme.py",
    "docs/protocol.md": "tests/experiments/test_protocol_page.py",
    "docs/profiles.md": "tests/experiments/test_profiles_page.py",
}
"""Pages with a test of their own, which runs their blocks and looks at what comes out."""

PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if blocks_of(path)
)


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ELSEWHERE])
def test_every_block_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    os.symlink(ROOT / "tests", tmp_path / "tests")
    before = set(sys.modules)
    try:
        ran = run_page(ROOT / name)
    finally:  # pages call their own modules alike
        for module in set(sys.modules) - before:
            if str(getattr(sys.modules[module], "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[module]
    assert ran == sum(not block.reason for block in blocks_of(ROOT / name))


@pytest.mark.parametrize(("name", "test"), ELSEWHERE.items())
def test_the_others_have_a_test_of_their_own(name: str, test: str) -> None:
    assert name in PAGES
    assert Path(name).name in (ROOT / test).read_text()
