import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from experiments.__main__ import main

# The same five requests in every format: at 0, 1, 2, 5 and 6 s, the fourth too long for a limit of 35 prompt tokens.
TIMES_S, PROMPTS, OUTPUTS = (0, 1, 2, 5, 6), (10, 20, 30, 40, 100), (1, 1, 1, 1, 6)
FILES = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    + "".join(
        f"2023-11-16 18:15:{46 + time}.5000000,{prompt},{output}\n"
        for time, prompt, output in zip(TIMES_S, PROMPTS, OUTPUTS, strict=True)
    ),
    "burstgpt": "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    + "".join(
        f"{7 + time},1,0.4,GPT-4,{prompt},{output},{prompt + output},API log\n"
        for time, prompt, output in zip(TIMES_S, PROMPTS, OUTPUTS, strict=True)
    ),
    "mooncake": "".join(
        json.dumps({"timestamp": 1000 * time, "input_length": prompt, "output_length": output, "hash_ids": []}) + "\n"
        for time, prompt, output in zip(TIMES_S, PROMPTS, OUTPUTS, strict=True)
    ),
    "splitwise": "arrived_at,num_prefill_tokens,num_decode_tokens\n"
    + "".join(f"{time}.0,{prompt},{output}\n" for time, prompt, output in zip(TIMES_S, PROMPTS, OUTPUTS, strict=True)),
}


def described(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["trace-info", str(path), "--json", *words]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.fixture(params=FILES)
def trace(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    path = tmp_path / f"{request.param}.txt"
    path.write_text(FILES[request.param])
    return request.param, path


def test_by_hand_in_every_format(trace: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    name, path = trace
    found = described(path, capsys)
    assert found["format"] == name
    assert (found["rows"], found["first_arrival_s"], found["last_arrival_s"]) == (5, 0.0, 6.0)
    # four gaps in six seconds: 1, 1, 3, 1; mean 1.5, variance (3 * 0.25 + 2.25) / 4 = 0.75
    assert found["rate_rps"] == pytest.approx(4 / 6)
    assert found["burstiness"] == pytest.approx(math.sqrt(0.75) / 1.5)
    # linear interpolation between the 4th and 5th value: 95 % lies at 3.8 of 4, 99 % at 3.96
    assert found["prompt_tokens"] == pytest.approx(
        {"mean": 40.0, "median": 30.0, "p95": 88.0, "p99": 97.6, "maximum": 100}
    )
    assert found["output_tokens"] == pytest.approx({"mean": 2.0, "median": 1.0, "p95": 5.0, "p99": 5.8, "maximum": 6})
    assert described(path, capsys, "--format", name) == found


def test_scale_limits_and_window(trace: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, path = trace
    twice = described(path, capsys, "--time-scale", "0.5")
    assert (twice["last_arrival_s"], twice["rate_rps"]) == (3.0, pytest.approx(4 / 3))
    capped = described(path, capsys, "--prompt-limit-tokens", "35", "--over-limit", "cap")
    assert (capped["rows"], capped["capped_rows"], capped["prompt_tokens"]["maximum"]) == (5, 2, 35)
    rejected = described(path, capsys, "--output-limit-tokens", "5", "--over-limit", "reject")
    assert (rejected["rows"], rejected["rejected_rows"], rejected["prompt_tokens"]["maximum"]) == (4, 1, 40)
    inside = described(path, capsys, "--start-s", "1", "--end-s", "5")
    assert (inside["rows"], inside["first_arrival_s"], inside["last_arrival_s"]) == (2, 1.0, 2.0)
    alone = described(path, capsys, "--start-s", "6")
    assert (alone["rows"], alone["rate_rps"], alone["burstiness"]) == (1, None, None)


def test_the_table_says_the_same(trace: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    name, path = trace
    assert main(["trace-info", str(path)]) == 0
    text = capsys.readouterr().out
    assert f"({name})" in text
    for line in ("0.667 requests/s", "prompt tokens, median", "88.0", "97.6"):
        assert line in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{tmp}/none.csv", "none.csv: can't be read"),
        ("{tmp}/text.csv", "text.csv:1: columns ['hello']; expected those of one layout"),
        ("{tmp}/zero.csv", "zero.csv:2: num_decode_tokens: '0'; expected a whole number from 1"),
        ("{tmp}/good.csv --format azure", "expected TIMESTAMP, ContextTokens, GeneratedTokens exactly once"),
        ("{tmp}/good.csv --columns a b c --format azure", "format: azure; expected auto, as --columns names the"),
        ("{tmp}/good.csv --columns a b c", "expected a, b, c exactly once"),
        ("{tmp}/pipe", "pipe: can't be read: a pipe; expected a regular file"),
        ("/dev/zero", "/dev/zero: can't be read: a device; expected a regular file"),
        ("{tmp}", "a folder; expected a regular file"),
        ("{tmp}/good.csv --time-scale 0", "time-scale: 0.0; expected a finite number above 0"),
        ("{tmp}/good.csv --prompt-limit-tokens 0", "prompt-limit-tokens: 0; expected at least 1"),
        ("{tmp}/good.csv --prompt-limit-tokens 35", "good.csv:5: 40 prompt tokens; expected at most"),
        ("{tmp}/good.csv --over-limit cap", "over-limit: cap; expected --prompt-limit-tokens"),
        ("{tmp}/good.csv --start-s -1", "start-s: -1.0; expected a finite number from 0"),
        ("{tmp}/good.csv --start-s 2 --end-s 2", "end-s: 2.0; expected more than start-s = 2.0"),
        ("{tmp}/good.csv --start-s 7", "no requests left in the window from 7"),
    ],
)
def test_errors(words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "good.csv").write_text(FILES["splitwise"])
    (tmp_path / "text.csv").write_text("hello\n")
    (tmp_path / "zero.csv").write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,5,0\n")
    assert main(["trace-info", *words.format(tmp=tmp_path).split()]) == 2
    assert message in capsys.readouterr().err


def test_rows_without_tokens_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "zero.csv"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,5,0\n1,5,2\n")
    found = described(path, capsys, "--zero-tokens", "drop")
    assert (found["rows"], found["zero_token_rows"]) == (1, 1)
    # BurstGPT logs failed requests so.
    path.write_text("Timestamp,Model,Request tokens,Response tokens\n0,GPT-4,5,0\n1,GPT-4,5,2\n2,ChatGPT,0,0\n")
    found = described(path, capsys)
    assert (found["rows"], found["zero_token_rows"]) == (1, 2)
    assert main(["trace-info", str(path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out for zero tokens" in line]
    assert line.split()[-1] == "2"


def test_columns_and_unit_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.csv"
    path.write_text("out,in,when\n1,5,0\n1,6,1500\n")
    found = described(path, capsys, "--columns", "when", "in", "out", "--time-unit", "ms")
    assert (found["format"], found["rows"], found["last_arrival_s"]) == ("columns", 2, 1.5)
