"""One table of an observation's columns: the space, the page and the fingerprint are what it says."""

import inspect

import pytest

from edgellm_env.env.environments import BatchEnv
from edgellm_env.node import features
from edgellm_env.node.features import FEATURES, SCHEME, SCHEMES, Feature, fingerprint


def rows(title: str) -> list[list[str]]:
    """Return the cells of the page's table of columns below ``title``."""
    page = inspect.cleandoc(BatchEnv.__doc__ or "").split("\n")
    table = page[page.index(title) + 4 :]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[: table.index("")]]


def described(place: str, feature: Feature) -> list[str]:
    return [place, f"`{feature.name}`", feature.doc, feature.unit]


def test_the_page_describes_every_column() -> None:
    requests, node = (
        [described(str(place), feature) for place, feature in enumerate(FEATURES[array])]
        for array in ("requests", "node")
    )
    assert rows("Columns of `requests`:") == requests
    assert rows("Columns of `node`:") == [*node, described(f"{SCHEMES} ...", SCHEME)]
    assert rows("Columns of `running`:") == [
        described(str(place), feature) for place, feature in enumerate(FEATURES["running"])
    ]


def test_every_column_has_its_own_index() -> None:
    for name, array in FEATURES.items():
        first = SCHEMES if name == "continuous" else 0  # behind the columns that every node has
        places = list(range(first, first + len(array)))
        assert [getattr(features, feature.name.upper()) for feature in array] == places


@pytest.mark.parametrize("array", ["requests", "node"])
def test_the_fingerprint_tells_names_units_and_order(array: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *others = FEATURES[array]
    changes = [
        (second, first, *others),
        (first._replace(name="other"), second, *others),
        (first._replace(unit="seconds"), second, *others),
        (first, *others),
    ]
    known = {fingerprint()}
    for change in changes:
        monkeypatch.setattr(features, "FEATURES", {**FEATURES, array: change})
        known.add(fingerprint())
    assert len(known) == 1 + len(changes)
    monkeypatch.setattr(features, "FEATURES", {**FEATURES, array: (first._replace(doc="other"), second, *others)})
    assert fingerprint() in known
