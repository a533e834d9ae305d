import dataclasses
import gzip
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgellm_env.node.records import OUTCOMES, SERVED
from experiments.__main__ import main
from experiments.commands import report as command
from experiments.report.document import SCRIPTS, STATIC, as_script_data, make_document, render_page
from experiments.report.recordings import FILE_NAME, read_recordings
from experiments.results.records import read_results

HOSTILE = "</script><img src=x onerror=alert(1)>{{DATA}}\\u2028"


@pytest.fixture
def folder(results: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(results, tmp_path / "copy"))


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append("")
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        if self.scripts and self.cdata_elem == "script":
            self.scripts[-1] += data


def document_of(page: str) -> dict:
    elements = Elements()
    elements.feed(page)
    assert len(elements.scripts) == 3
    assert all(address.startswith(("#", "data:")) for address in elements.addresses)
    return json.loads(elements.scripts[0])


def test_the_page_is_whole_small_and_says_what_the_results_say(results: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "report.html"
    assert main(["report", str(results), "--out", str(out)]) == 0
    assert "Report: " in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert 4_000_000 < out.stat().st_size <= command.MAXIMUM_BYTES
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    shown = document_of(page)
    about, rows, _ = read_results(results / "results.json")
    assert shown["about"]["command"] == about["command"]
    best = max({row.policy for row in rows}, key=lambda name: sum(row.served for row in rows if row.policy == name))
    assert shown["policies"][0]["summary"]["policy"] == best
    for figures in shown["policies"]:
        name = figures["summary"]["policy"]
        own = [row for row in rows if row.policy == name]
        assert figures["throughput_rps"] == [row.throughput_rps for row in own]
        assert sum(figures["fates"].values()) == pytest.approx(1.0)
        assert len(figures["difference_rps"]) == (0 if name == "dftsp" else 2)
        (series,) = (one for one in shown["series"] if one["policy"] == name)
        assert series["served_total"][-1] == pytest.approx(sum(row.served for row in own) / 2)
        assert series["within"][-1] == pytest.approx(sum(row.served / row.arrived for row in own) / 2, abs=1e-3)
        lost = sum(row.expired + row.blocked + row.rejected for row in own) / 2
        assert sum(series["whys"].values()) == pytest.approx(lost)
        for number, episode in enumerate(shown["replay"]["episodes"]):
            (played,) = (one for one in episode["recorded"]["played"] if one["policy"] == name)
            assert played["outcome"].count(SERVED) == own[number].served
    assert shown["replay"]["pair"] == [best, "dftsp"]


def test_texts_can_not_leave_the_data(results: Path, folder: Path) -> None:
    assert json.loads(as_script_data([HOSTILE])) == [HOSTILE]
    assert not re.search("[<>&]", as_script_data([HOSTILE]))
    rename(folder, "sjf", HOSTILE)
    about, rows, _ = read_results(folder / "results.json")
    about["settings"]["name"] = about["scenario"] = HOSTILE
    page = render_page(make_document(about, rows, read_recordings(folder / FILE_NAME)), "/* library */")
    shown = document_of(page)
    assert HOSTILE in [figures["summary"]["policy"] for figures in shown["policies"]]
    assert HOSTILE in shown["title"]
    assert "<img" not in page


def rename(folder: Path, old: str, new: str) -> None:
    """Give a policy another name in results and recordings."""
    results, recordings = folder / "results.json", folder / FILE_NAME
    name, other = json.dumps(old), json.dumps(new)
    results.write_text(results.read_text().replace(name, other))
    recordings.write_bytes(
        gzip.compress(gzip.decompress(recordings.read_bytes()).decode().replace(name, other).encode())
    )


def test_static_files_are_all_used_and_all_there() -> None:
    assert {path.name for path in STATIC.iterdir()} == {"page.html", "page.css", *SCRIPTS}


def test_episodes_are_left_out_rather_than_the_page_too_large(results: Path) -> None:
    about, rows, _ = read_results(results / "results.json")
    recordings = read_recordings(results / FILE_NAME)
    whole = len(render_page(make_document(about, rows, recordings), ""))
    document, page = command.fit_page(about, rows, recordings, "", whole - 1)
    assert len(page) < whole
    assert document.replay is not None
    assert len(document.replay.episodes) == 1
    assert document.notes == ["1 of 2 recorded episodes are shown: all would make the page too large."]
    document, _ = command.fit_page(
        about, rows, recordings, "", len(render_page(make_document(about, rows, None), "")) + 200
    )
    assert document.replay is None
    with pytest.raises(ValueError, match=r"without any recorded episode; expected at most 1000"):
        command.fit_page(about, rows, recordings, "", 1000)


def test_without_recordings_there_is_no_replay_and_the_page_says_so(folder: Path) -> None:
    (folder / FILE_NAME).unlink()
    about, rows, _ = read_results(folder / "results.json")
    document = make_document(about, rows, None)
    assert document.replay is None
    assert "compare --record 1" in document.notes[0]
    assert document.series == []


def test_two_hundred_slots_of_many_requests_and_policies_fit(results: Path) -> None:
    about, rows, _ = read_results(results / "results.json")
    recordings = read_recordings(results / FILE_NAME)
    stretched = recordings.model_copy(update={"episodes": [stretch(recordings.episodes[0], 3000, 200, 8)]})
    own = [row for row in rows if row.policy == "sjf"]
    rows += [dataclasses.replace(row, policy=f"policy-{number}") for number in range(3, 8) for row in own]
    page = render_page(make_document(about, rows, stretched), "")
    assert len(page) < 1_500_000
    recorded = document_of(page)["replay"]["episodes"][0]["recorded"]
    assert (len(recorded["requests"]["arrival_s"]), len(recorded["played"])) == (3000, 8)


def stretch(episode, requests: int, slots: int, policies: int):
    """The episode with as many requests, slots and policies, its numbers repeated."""

    def longer(part, length: int):
        columns = {name: values for name, values in part if isinstance(values, list)}
        return part.model_copy(
            update={name: (own * (length // len(own) + 1))[:length] for name, own in columns.items() if own}
        )

    first = episode.played[0]
    one = longer(first, requests).model_copy(update={"slots": longer(first.slots, slots)})
    names = ["dftsp", "es-value:light", "sjf", *(f"policy-{number}" for number in range(3, policies))]
    return episode.model_copy(
        update={
            "requests": longer(episode.requests, requests),
            "played": [one.model_copy(update={"policy": name}) for name in names],
        }
    )


def test_what_can_not_be_used_is_named(results: Path, folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    def fails(message: str, source: Path = folder, out: Path = tmp_path / "r.html") -> None:
        assert main(["report", str(source), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
        assert not out.exists()

    fails("has no results.json that can be read", tmp_path)
    fails("expected a file in a folder that exists", out=tmp_path / "none" / "r.html")
    recordings = (folder / FILE_NAME).read_bytes()
    text = gzip.decompress(recordings).decode()
    (folder / FILE_NAME).write_bytes(
        gzip.compress(re.sub(r'"trace_checksum":"\w+"', '"trace_checksum":"0"', text).encode())
    )
    fails("episode 0 is not the one of the results beside it; expected both from the same compare")
    (folder / FILE_NAME).write_bytes(b"nothing")
    fails("can't be read")
    (folder / FILE_NAME).write_bytes(recordings)
    (folder / "results.json").write_text('{"metadata": {}}')
    fails("expected what this version's compare writes")
    for content in (
        "[]",
        "null",
        "[" * 100_000,
        '{"metadata": {}, "episodes": [3]}',
        '{"metadata": [], "episodes": []}',
    ):
        (folder / "results.json").write_text(content)
        fails("expected what this version's compare writes")
    shutil.copy(results / "results.json", folder)
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    fails("install it with: pip install --group report")


def test_who_has_no_rows_is_not_shown(results: Path) -> None:
    about, rows, _ = read_results(results / "results.json")
    recordings = read_recordings(results / FILE_NAME)
    document = make_document(about, [row for row in rows if row.policy != "es-value:light"], recordings)
    assert document.replay is not None
    assert {played.policy for played in document.replay.episodes[0].recorded.played} == {"dftsp", "sjf"}
    assert "dftsp" in document.replay.pair


def test_failures_and_bounds_are_told(tmp_path: Path) -> None:
    policies = ["dftsp", "tests.experiments.own_policies:Raising"]
    words = ["compare", "--scenario", "light", "--slots", "20", "--episodes", "2", "--policies", *policies]
    assert main([*words, "--clairvoyant-s", "5", "--out", str(tmp_path / "x")]) == 1
    results = json.loads((tmp_path / "x" / "results.json").read_text())
    assert main(["report", str(tmp_path / "x"), "--out", str(tmp_path / "report.html")]) == 0
    failure, bound = document_of((tmp_path / "report.html").read_text(encoding="utf-8"))["notes"][:2]
    assert failure == (
        "Failed, and is in no figure: policy 'raising', episode 0, slot 3: decide raised KeyError: 'queue' "
        "(failed in 2 episodes)"
    )
    upper_rps = sum(one["upper"] for one in results["bounds"]) / (2 * 20 * 0.5)
    assert f"no schedule could have served more than {upper_rps:.2f} requests/s in these 2 episodes" in bound


def test_outcomes_are_those_that_the_page_takes_apart() -> None:
    assert OUTCOMES == ("waiting", "served", "expired", "rejected", "blocked")
    assert "const [WAITING, SERVED, EXPIRED, REJECTED, BLOCKED]" in (STATIC / "episode.js").read_text()


def test_a_shorter_recording_takes_away_the_longer_one_before(folder: Path) -> None:
    words = f"compare --scenario light --episodes 1 --record 0 --slots 5 --policies sjf --out {folder}"
    assert main(words.split()) == 0
    assert not (folder / FILE_NAME).exists()
