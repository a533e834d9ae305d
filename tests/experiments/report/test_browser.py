"""The page in a real browser: it opens from disk without network, and its controls do what they say."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgellm_env.node.records import EXPIRED, SERVED
from experiments.__main__ import main
from experiments.report.findings import tell_stories
from experiments.report.recordings import FILE_NAME, HOPELESS, read_recordings
from tests.experiments.report.conftest import SLOTS
from tests.experiments.report.test_command import HOSTILE, rename

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install --group dev")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found: install the package chromium")

LAPTOP, PHONE = (1366, 800), (390, 844)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as engine:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium's sandbox refuses to run as root
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["report", str(results), "--out", str(out)]) == 0
    return out


@pytest.fixture
def visit(browser) -> Iterator:
    """Opens a file; whatever the browser complains of, or asks the network for, fails the test."""
    complaints: list[str] = []
    contexts = []

    def opened(path: Path, size: tuple[int, int] = LAPTOP, scheme: str = "light"):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
        )
        page.goto(path.as_uri())
        page.wait_for_selector("#plot-leaderboard .main-svg")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def slot_of(page) -> int:
    return int(page.locator("#slot").input_value())


@pytest.mark.parametrize(("size", "scheme"), [(LAPTOP, "light"), (PHONE, "dark")], ids=["laptop", "phone"])
def test_it_opens_and_fits(report: Path, visit, size: tuple[int, int], scheme: str, tmp_path: Path) -> None:
    page = visit(report, size, scheme)
    assert page.title() == page.locator("h1").inner_text() == "light: 3 policies on the very same requests"
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(", "))) > 380) == (scheme == "light")
    for figure in page.locator("section .plot").all():
        assert figure.get_attribute("aria-label")
        assert figure.locator(".main-svg").count() > 0
    picture = page.screenshot(path=tmp_path / "report.png", full_page=True)
    assert len(picture) > 50_000
    tallest = page.evaluate("document.documentElement.scrollHeight")
    assert 3_000 < tallest < 12_000


def test_the_words_and_marks_of_a_slot_are_those_of_the_recording(results: Path, report: Path, visit) -> None:
    page = visit(report)
    episode = read_recordings(results / FILE_NAME).episodes[0]
    story = next(one for one in tell_stories(episode) if (one.first, one.second) == ("es-value:light", "dftsp"))
    example = story.exchanges[0]
    assert slot_of(page) == example.slot
    words = page.locator("#words").inner_text()
    assert f"es-value:light leaves request {example.deferred} (" in words
    assert f"es-value:light serves it {example.served_slot - example.slot} slot" in words
    assert f"es-value:light serves request {example.rescued}, which can't wait" in words
    assert "dftsp does not, and it expires there." in words
    text = page.locator(".why").inner_text()
    assert f"in {story.exchange_slots} slot" in text
    assert f"serves {story.only_first} request" in text

    played = {one.policy: one for one in episode.played}
    for slot in (0, example.slot, 17, SLOTS - 1):
        page.locator("#slot").fill(str(slot))
        for panel, policy in zip(page.locator(".panel").all(), ("es-value:light", "dftsp"), strict=True):
            one = played[policy]
            fates = list(zip(one.outcome, one.last_slot, one.cause, strict=True))
            served = {i for i, (code, last, _) in enumerate(fates) if code == SERVED and last == slot}
            expires = {
                i for i, (code, last, why) in enumerate(fates) if code == EXPIRED and last == slot and why != HOPELESS
            }
            for marks, expected in ((".mark.served", served), (".mark.expires", expires)):
                shown = panel.locator(f".queue {marks}").evaluate_all(
                    "marks => marks.map(m => Number(m.dataset.request))"
                )
                assert set(shown) == expected, (slot, policy, marks)
            so_far = sum(code == SERVED and last <= slot for code, last, _ in fates)
            assert f"{so_far} served so far" in panel.locator(".tally").inner_text()
            assert panel.locator(".left li", has_text="expires").count() == len(expires)


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_a_continuous_nodes_iterations_and_running_requests_are_shown(
    continuous: Path, tmp_path: Path, visit, size: tuple[int, int]
) -> None:
    assert main(["report", str(continuous), "--out", str(tmp_path / "report.html")]) == 0
    page = visit(tmp_path / "report.html", size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    heads = page.locator("#table-leaderboard thead").inner_text()
    assert all(head in heads for head in ("TTFT", "TPOT", "tokens/s", "Jain"))
    (episode,) = read_recordings(continuous / FILE_NAME).episodes
    played = {one.policy: one for one in episode.played}
    tokens = episode.requests.output_tokens
    for slot in (0, 7, SLOTS // 2, SLOTS - 1):
        page.locator("#slot").fill(str(slot))
        for panel in page.locator(".panel").all():
            one = played[panel.locator("h3").inner_text()]
            lengths = one.slots.iterations_s[slot]
            assert panel.locator(".iterations .block").count() == len(lengths)
            widths = panel.locator(".iterations .block").evaluate_all("all => all.map(one => one.width.baseVal.value)")
            assert widths == pytest.approx([own * sum(widths) / sum(lengths) for own in lengths], abs=0.6)
            now = sum(map(len, one.slots.iterations_s[:slot]))
            served = [i for i, code in enumerate(one.outcome) if code == SERVED]
            joins = [i for i in served if one.last_slot[i] == slot]
            first = {i: sum(map(len, one.slots.iterations_s[: one.last_slot[i]])) for i in served}
            runs = [i for i in served if one.last_slot[i] < slot and first[i] + tokens[i] > now]
            runs.sort(key=lambda i: (one.last_slot[i], i))
            rows = [
                [cell.strip() for cell in row.split("\t")] for row in panel.locator(".runs tbody tr").all_inner_texts()
            ]
            spare = [f"{margin:.2f} s" for margin in one.slots.margins_s[slot]]
            expected = [[str(i), "", f"{max(0, now - first[i])} / {tokens[i]}"] for i in runs]
            assert [row[:3] for row in rows] == [*expected, *([str(i), "", f"0 / {tokens[i]}"] for i in joins)]
            assert [row[3] for row in rows] == [*spare, *["joins"] * len(joins)]
            titles = panel.locator(".iterations .prompts title").evaluate_all("all => all.map(one => one.textContent)")
            assert len(titles) == (bool(lengths) and bool(joins or any(first[i] == now for i in runs)))
            assert all(str(i) in titles[0] for i in joins if lengths)
            assert panel.locator(".bars > span").all_inner_texts() == ["memory", "uplink", "downlink"]


def test_buttons_and_keys_step_play_and_find_differences(results: Path, report: Path, visit) -> None:
    page = visit(report)
    story = next(
        one
        for one in tell_stories(read_recordings(results / FILE_NAME).episodes[0])
        if (one.first, one.second) == ("es-value:light", "dftsp")
    )
    page.locator("#slot").fill("0")
    seen = []
    for _ in range(4):
        page.get_by_role("button", name="Next slot where they differ").click()
        seen.append(slot_of(page))
        assert page.locator(".panel .mark.differs").count() > 0
    assert seen == [slot for slot in story.differing_slots if slot > 0][:4]
    page.get_by_role("button", name="Previous slot where they differ").click()
    assert slot_of(page) == seen[2]
    page.get_by_role("button", name="One slot forward").click()
    assert slot_of(page) == seen[2] + 1

    page.locator("#player").focus()
    for key, expected in (("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", SLOTS - 1)):
        page.keyboard.press(key)
        assert slot_of(page) == expected
    page.keyboard.press("Home")
    page.keyboard.press("n")
    assert slot_of(page) == seen[0]
    page.keyboard.press("n")
    page.keyboard.press("p")
    assert slot_of(page) == seen[0]
    page.keyboard.press("e")
    assert slot_of(page) in [exchange.slot for exchange in story.exchanges]

    page.locator("#speed").select_option("200")
    page.keyboard.press("Home")
    page.locator("#player").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    assert page.locator("#play").get_attribute("aria-label") == "Pause"
    playwright.expect(page.locator("#slot")).to_have_value(re.compile(r"[2-9]|\d\d"))
    page.keyboard.press("Space")
    assert page.locator("#play").get_attribute("aria-label") == "Play"
    stopped = slot_of(page)
    page.wait_for_timeout(300)
    assert slot_of(page) == stopped

    page.locator("#slot").focus()
    page.keyboard.press("ArrowRight")
    assert slot_of(page) == stopped + 1
    page.locator(".strip").first.click(position={"x": 2, "y": 30})
    assert slot_of(page) == 0


def test_policies_episode_theme_and_tables_can_be_chosen(report: Path, visit) -> None:
    page = visit(report)
    page.locator("#second").select_option("sjf")
    assert [panel.inner_text() for panel in page.locator(".panel h3").all()] == ["es-value:light", "sjf"]
    page.locator("#first").select_option("sjf")  # the two change places
    assert [panel.inner_text() for panel in page.locator(".panel h3").all()] == ["sjf", "es-value:light"]
    before = page.locator("#story").inner_text()
    page.locator("#episode").select_option("1")
    assert page.locator("#story").inner_text() != before
    page.locator("#queue-table summary").click()
    for panel, table in zip(page.locator(".panel").all(), page.locator(".tables table").all(), strict=True):
        waiting = panel.locator(".queue .mark").count()
        assert table.locator("tbody tr").count() == waiting
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    ink = page.locator("#plot-leaderboard .ytick text").first.evaluate("text => getComputedStyle(text).fill")
    assert ink == "rgb(236, 239, 243)"
    page.locator("#see").click()
    assert page.evaluate("document.activeElement.id") == "player"
    assert page.locator("#player").evaluate("node => node.getBoundingClientRect().top < innerHeight")


def test_names_are_texts_whatever_they_hold(results: Path, tmp_path: Path, visit) -> None:
    folder = Path(shutil.copytree(results, tmp_path / "hostile"))
    rename(folder, "sjf", HOSTILE)
    rename(folder, "es-value:light", "<b>%{x}</b>" + "long/" * 30)
    assert main(["report", str(folder), "--out", str(tmp_path / "hostile.html")]) == 0
    page = visit(tmp_path / "hostile.html", PHONE)
    assert page.locator("img, .main-svg b, .main-svg a").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    titles = page.locator("#table-leaderboard th[title]").evaluate_all("cells => cells.map(cell => cell.title)")
    assert HOSTILE in titles
    page.locator("#second").select_option(HOSTILE)
    page.keyboard.press("n")


def test_without_recordings_the_rest_is_there(results: Path, tmp_path: Path, visit) -> None:
    folder = Path(shutil.copytree(results, tmp_path / "plain"))
    (folder / FILE_NAME).unlink()
    assert main(["report", str(folder), "--out", str(tmp_path / "plain.html")]) == 0
    page = visit(tmp_path / "plain.html")
    assert page.locator("#replay").count() == 0
    assert "compare --record 1" in page.locator("#notes").inner_text()
    assert page.locator("#plot-lost .main-svg").count() > 0
