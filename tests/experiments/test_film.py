"""``film`` writes a GIF of policies on the same requests, or says in one line why it can't."""

import pytest

from experiments.__main__ import main

pytest.importorskip("pygame", reason="needs the group 'render'")
Image = pytest.importorskip("PIL.Image", reason="needs the group 'datasets'")


def test_a_frame_for_every_slot_of_both_policies(tmp_path):
    out = tmp_path / "film.gif"
    words = ["film", "--scenario", "light", "--policies", "sjf", "edf", "--slots", "6", "--width", "160"]
    assert main([*words, "--out", str(out)]) == 0
    with Image.open(out) as film:
        assert film.n_frames == 7
        assert film.size == (320, 90)
        assert film.info["loop"] == 0
        assert film.info["duration"] == 250
        film.seek(6)
        last = film.convert("RGB")
    assert list(last.crop((0, 0, 160, 90)).getdata()) != list(last.crop((160, 0, 320, 90)).getdata())


def test_a_picture_of_the_last_slot(tmp_path):
    out = tmp_path / "new" / "slot.png"
    words = ["film", "--scenario", "chat", "--policies", "sjf", "--slots", "4", "--width", "1280", "--out", str(out)]
    assert main(words) == 0
    with Image.open(out) as picture:
        assert picture.size == (1280, 720)
        assert len(picture.convert("RGB").getcolors(4096)) > 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "film.mp4"], "film.mp4; expected a name that ends in .gif or .png"),
        (["--width", "4000"], "width: 4000; expected 16 to 1280"),
        (["--policies", "unknown"], "unknown"),
        (["--scenario", "nowhere"], "nowhere"),
    ],
)
def test_what_can_not_be_filmed_is_said_in_one_line(tmp_path, capsys, words, message):
    out = tmp_path / "film.gif"
    assert main(["film", "--out", str(out), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()
