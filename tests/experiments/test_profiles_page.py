"""What docs/profiles.md says of the shipped profiles is theirs, and its script records what calibrate reads."""

import csv
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from edgellm_env.costs.profiles import load_profile, profile_names
from experiments.__main__ import main
from tests.costs.coefficients import coefficients

PAGE = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text()
TRUE = (0.012, 5e-5, 1e-7, 3e-5, 2e-8)


def test_the_table_of_shipped_profiles() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `rtx")]
    expected = []
    for name in profile_names():
        profile = load_profile(name)
        decode, prompts, mixed = (profile.fit[kind] for kind in ("decode", "prompts", "mixed"))
        errors = " | ".join(f"{100 * one.mean:.1f} ({100 * one.max:.1f})" for one in (decode, prompts))
        assumed = " (assumed)" if profile.kv_tokens_from.startswith("assumed") else ""
        expected.append(f"| `{name}` | {errors} | {100 * mixed.signed_mean:.1f} | {profile.kv_tokens:,}{assumed} |")
    assert rows == expected


@dataclass
class Request:
    prompt: int
    most: int
    done: int = 0
    made: list[int] = field(default_factory=list)


class Engine:
    """vLLM's engine as far as the script uses it: chunks of prompts beside decoding, first come, first served."""

    def __init__(self, chunk: int) -> None:
        self.chunk, self.clock_s, self.requests = chunk, 0.0, dict[str, Request]()

    def add_request(self, name: str, prompt: dict[str, list[int]], settings: SimpleNamespace) -> None:
        self.requests[name] = Request(len(prompt["prompt_token_ids"]), settings.max_tokens)

    def abort_request(self, names: list[str]) -> None:
        for name in names:
            self.requests.pop(name, None)

    def has_unfinished_requests(self) -> bool:
        return bool(self.requests)

    def step(self) -> list[SimpleNamespace]:
        step_s, sequence_s, context_s, token_s, squared_s = TRUE
        self.clock_s += step_s
        decoding = [one for one in self.requests.values() if one.made]
        self.clock_s += sum(sequence_s + context_s * (one.prompt + len(one.made)) for one in decoding)
        left = self.chunk - len(decoding)
        for one in self.requests.values():
            if not one.made:
                tokens = min(left, one.prompt - one.done)
                self.clock_s += token_s * tokens + squared_s * tokens * (tokens + 2 * one.done)
                one.done += tokens
                left -= tokens
        with_token = {name: one for name, one in self.requests.items() if one.done == one.prompt}
        for name, one in with_token.items():
            one.made.append(0)
            if len(one.made) == one.most:
                del self.requests[name]
        made = {name: SimpleNamespace(token_ids=one.made) for name, one in with_token.items()}
        return [SimpleNamespace(request_id=name, outputs=[output]) for name, output in made.items()]


def test_the_recording_script_records_what_calibrate_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    engine = Engine(2048)
    vllm = ModuleType("vllm")
    vllm.EngineArgs = SimpleNamespace
    vllm.SamplingParams = SimpleNamespace
    vllm.LLMEngine = SimpleNamespace(from_engine_args=lambda _: engine)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(time, "perf_counter", lambda: engine.clock_s)
        exec(compile(script, "docs/profiles.md", "exec"), {})  # noqa: S102 - the page's own example
    assert not engine.requests
    with open("iterations.csv", newline="") as file:
        assert sum(row["prefill_tokens"] != "0" and row["decode_sequences"] != "0" for row in csv.DictReader(file)) > 50
    assert main(["calibrate", "iterations.csv", "--out", "out", "--kv-tokens", "41408"]) == 0
    profile = load_profile(Path("out") / "iterations.yaml")
    assert coefficients(profile) == pytest.approx(TRUE, rel=1e-4)
    assert max(profile.fit[kind].max for kind in ("decode", "prompts", "mixed")) < 1e-4
