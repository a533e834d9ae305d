"""A scenario loads as written, refuses what can't work, and never changes."""

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from edgellm_env.scenario import (
    SCENARIO_FOLDER,
    Scenario,
    ScenarioError,
    load_scenario,
    parse_setting,
    scenario_names,
)

SHIPPED = scenario_names()
CONFIGS = Path(__file__).parents[1] / "edgellm_env/scenario/shipped"


def tree_of(name: str = "balanced", **changes: Any) -> dict[str, Any]:
    """A scenario as nested dicts, with changes at paths whose dots are written as two underscores."""
    tree: dict[str, Any] = load_scenario(name).model_dump(mode="json", exclude_none=True)
    for path, value in changes.items():
        *parents, last = path.split("__")
        branch: Any = tree
        for part in parents:
            branch = branch[int(part)] if isinstance(branch, list) else branch.setdefault(part, {})
        if isinstance(branch, list):
            branch[int(last)] = value
        else:
            branch[last] = value
    return tree


# --- Shipped files -------------------------------------------------------------------------------------------------


def test_the_promised_scenarios_ship() -> None:
    promised = {"paper", "balanced", "light", "patient", "memory", "spillover", "bursty", "quantized", "azure-conv"}
    assert promised <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_loads_and_comes_back_exactly(name: str, tmp_path: Path) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description
    path = tmp_path / "copy.yaml"
    path.write_text(scenario.to_yaml(), encoding="utf-8")
    for again in (load_scenario(path), load_scenario(str(path)), load_scenario(scenario.model_dump())):
        assert again == scenario
        assert again.checksum == scenario.checksum
        assert again.numbers() == scenario.numbers()


@pytest.mark.parametrize("name", SHIPPED)
def test_every_key_of_a_file_is_in_the_scenario(name: str) -> None:
    """What a file says, read by plain YAML, is what the scenario holds: no key is dropped, no number altered."""
    loaded = load_scenario(name).model_dump(mode="json")

    def compare(written: Any, held: Any, path: str) -> None:
        if isinstance(written, dict):
            for key, value in written.items():
                compare(value, held[key], f"{path}.{key}")
        elif isinstance(written, list):
            assert len(written) == len(held), path
            for index, value in enumerate(written):
                compare(value, held[index], f"{path}.{index}")
        else:
            assert written == held, path

    compare(yaml.safe_load((SCENARIO_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")), loaded, name)


def test_configs_show_the_packages_own_files() -> None:
    assert CONFIGS.resolve() == SCENARIO_FOLDER.resolve()
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_number_carries_provenance(name: str) -> None:
    scenario = load_scenario(name)
    numbers = scenario.numbers()
    assert {"model.layers", "node.device_flops", "timing.slot_s", "schemes.0.weight_bits"} <= set(numbers)
    for path in numbers:
        tag = scenario.provenance_of(path)
        assert tag in ("paper", "assumed") or tag.startswith("source: "), path


def test_provenance_is_that_of_the_longest_prefix() -> None:
    quantized = load_scenario("quantized")
    assert quantized.provenance_of("model.layers").startswith("source: BLOOM-3B")
    assert quantized.provenance_of("schemes.2.quality").startswith("source: GPTQ")
    assert quantized.provenance_of("schemes.2.weight_bits") == "assumed"
    tags = {"default": "assumed", "model": "source: a", "model.layers": "paper"}
    nested = load_scenario(tree_of(provenance=tags))
    assert nested.provenance_of("model.layers") == "paper"
    assert nested.provenance_of("model.hidden_size") == "source: a"
    assert nested.provenance_of("timing.slot_s") == "assumed"


def test_gptq_qualities_are_the_cited_ratios() -> None:
    qualities = {scheme.name: scheme.quality for scheme in load_scenario("quantized").schemes}
    assert qualities["GPTQ-W4"] == pytest.approx(13.48 / 14.20, abs=5e-4)
    assert qualities["GPTQ-W3"] == pytest.approx(13.48 / 17.40, abs=5e-4)


# --- Loading -------------------------------------------------------------------------------------------------------


def test_an_object_is_returned_as_it_is() -> None:
    scenario = load_scenario("paper")
    assert load_scenario(scenario) is scenario


def test_an_unknown_name_lists_what_ships() -> None:
    with pytest.raises(ScenarioError, match=r"'balancd' is neither a file nor a shipped scenario; .*balanced"):
        load_scenario("balancd")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: [", "not valid YAML"),
        (b"name: \xff", "not valid YAML"),
        (b"", "NoneType; expected a mapping"),
        (b"- 1\n- 2\n", "list; expected a mapping"),
        (b"name: a\nname: b\n", "'name' is given twice"),
        (b"queue:\n  capacity: 8\n  infeasible: trim\n  capacity: 9\n", "'capacity' is given twice"),
    ],
)
def test_files_that_are_no_scenario(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError, match=rf"bad\.yaml: .*(?s:.*){message}"):
        load_scenario(path)


@pytest.mark.parametrize(("text", "value"), [("1e9", 1e9), ("2E+7", 2e7), ("1e-3", 1e-3), ("1.5e9", 1.5e9), ("3", 3.0)])
def test_exponents_without_a_dot_are_numbers(text: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "copy.yaml"
    shipped = (SCENARIO_FOLDER / "balanced.yaml").read_text(encoding="utf-8")
    path.write_text(shipped.replace("uplink_bandwidth_hz: 2.0e+7", f"uplink_bandwidth_hz: {text}"), encoding="utf-8")
    assert load_scenario(path).radio.uplink_bandwidth_hz == value


def test_quoted_numbers_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "copy.yaml"
    shipped = (SCENARIO_FOLDER / "balanced.yaml").read_text(encoding="utf-8")
    path.write_text(shipped.replace("uplink_bandwidth_hz: 2.0e+7", "uplink_bandwidth_hz: '2e7'"), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"radio\.uplink_bandwidth_hz: '2e7'; Input should be a valid number"):
        load_scenario(path)


def test_a_scenario_is_frozen() -> None:
    scenario = load_scenario("balanced")
    with pytest.raises(ValidationError, match="frozen"):
        scenario.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        scenario.timing.slot_s = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        scenario.workload.latency_requirement_s.high = 9.0  # type: ignore[misc, union-attr]


# --- Refusals ------------------------------------------------------------------------------------------------------

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # unknown keys, wrong units, missing keys
        ({"queue__size": 3}, r"queue\.size: 3; there is no such setting"),
        ({"radio__uplink_bandwidth_mhz": 20}, r"radio\.uplink_bandwidth_mhz: 20; there is no such setting"),
        ({"timing__slot_ms": 500}, r"timing\.slot_ms: 500; there is no such setting"),
        ({"nodes": {}}, r"nodes: {}; there is no such setting"),
        ({"queue": {}}, r"queue\.capacity: missing"),
        ({"schemes": []}, r"schemes: \[\]; .*at least 1"),
        # wrong types
        ({"timing__slot_s": "0.5"}, r"timing\.slot_s: '0\.5'; .*number"),
        ({"timing__slot_s": True}, r"timing\.slot_s: True; .*number"),
        ({"timing__slot_s": None}, r"timing\.slot_s: None; .*number"),
        ({"timing__episode_slots": 10.5}, r"timing\.episode_slots: 10\.5; .*integer"),
        ({"queue__carry_over": "yes"}, r"queue\.carry_over: 'yes'; .*boolean"),
        ({"queue__infeasible": "ignore"}, r"queue\.infeasible: 'ignore'; .*'trim', 'reject' or 'raise'"),
        ({"workload__prompt_tokens": {"kind": "zipf"}}, r"workload\.prompt_tokens: .*'zipf'.*'uniform-integer'"),
        # out of range
        ({"timing__slot_s": 0}, r"timing\.slot_s: 0; .*greater than 0"),
        ({"timing__spill_s": -0.5}, r"timing\.spill_s: -0\.5; .*greater than or equal to 0"),
        ({"timing__episode_slots": 0}, r"timing\.episode_slots: 0; .*greater than or equal to 1"),
        ({"timing__uplink_s": 0.6}, r"timing\.uplink_s: 0\.6; expected at most slot_s = 0\.5"),
        ({"timing__downlink_s": 0.6}, r"timing\.downlink_s: 0\.6; expected at most slot_s = 0\.5"),
        ({"node__device_flops": -1.0}, r"node\.device_flops: -1\.0; .*greater than 0"),
        ({"radio__noise_density_dbm_per_hz": NAN}, r"radio\.noise_density_dbm_per_hz: nan"),
        ({"radio__user_transmit_power_w": INFINITY}, r"radio\.user_transmit_power_w: inf; .*finite"),
        ({"radio__ring_outer_m": 10.0}, r"radio\.ring_outer_m: 10\.0; expected at least ring_inner_m = 50\.0"),
        ({"schemes__0__weight_bits": NAN}, r"schemes\.0\.weight_bits: nan"),
        ({"schemes__0__quality": 1.2}, r"schemes\.0\.quality: 1\.2; .*less than or equal to 1"),
        ({"schemes__0__quality": 0.0}, r"schemes\.0\.quality: 0\.0; .*greater than 0"),
        ({"queue__capacity": 0}, r"queue\.capacity: 0"),
        ({"queue__capacity": 5000}, r"queue\.capacity: 5000; .*4096"),
        ({"model__kv_heads": 5}, r"model\.kv_heads: 5; expected a divisor of heads = 32"),
        ({"availability__correlation": 1.0}, r"availability\.correlation: 1\.0; .*less than 1"),
        ({"availability__correlation": NAN}, r"availability\.correlation: nan"),
        ({"availability__compute__low": 0.0}, r"availability\.compute\.low: 0\.0"),
        ({"availability__compute": {"low": 0.9, "high": 0.5}}, r"availability\.compute\.high: 0\.5; .*low = 0\.9"),
        ({"workload__prompt_tokens__low": 0}, r"workload\.prompt_tokens: values from 0 to 512; expected within \[1"),
        ({"workload__prompt_tokens__high": 513}, r"workload\.prompt_tokens: .*prompt_limit_tokens = 512"),
        ({"workload__output_limit_tokens": 500}, r"workload\.output_tokens: .*output_limit_tokens = 500"),
        (
            {"workload__output_tokens": {"kind": "uniform", "low": 1.0, "high": 9.0}},
            r"workload\.output_tokens: uniform draws fractions",
        ),
        ({"workload__accuracy_requirement__high": 1.5}, r"workload\.accuracy_requirement: values from 0\.0 to 1\.5"),
        ({"workload__attachment_bits__low": -1.0}, r"workload\.attachment_bits: values from -1\.0"),
        ({"workload__latency_requirement_s__low": 0.0}, r"workload\.latency_requirement_s: .*expected above 0"),
        ({"workload__latency_requirement_s__high": 0.5}, r"workload\.latency_requirement_s\.high: 0\.5; .*low = 1\.0"),
        # unworkable together
        (
            {"node__devices": 1, "node__device_memory_bytes": 2.3e9},
            r"node\.device_memory_bytes: 2\.3e\+09 bytes in all; expected more than the 2\.359e\+09 bytes .*W8A16",
        ),
        (
            {"workload__latency_requirement_s": {"kind": "uniform", "low": 0.1, "high": 0.5}},
            r"timing\.uplink_s \+ timing\.downlink_s: 0\.5; expected below the longest .* = 0\.5",
        ),
        # settings that would silently not apply
        ({"workload__bursts": {"rate_rps": 1.0, "mean_calm_s": 1.0, "mean_burst_s": 1.0}}, r"workload\.bursts: given"),
        ({"workload__trace": {"path": "x.csv"}}, r"workload\.trace: given, but arrivals = 'poisson'"),
        ({"workload__arrivals": "markov-modulated"}, r"workload\.bursts: missing; arrivals = 'markov-modulated'"),
        ({"workload__arrivals": "trace"}, r"workload\.trace: missing"),
        ({"workload__arrivals": "explicit"}, r"workload\.requests: missing"),
        ({"workload__arrival_rate_rps": None}, r"workload\.arrival_rate_rps: missing"),
        # provenance
        ({"provenance__default": "guess"}, r"provenance\.default: 'guess'; expected 'paper', 'assumed' or 'source"),
        ({"provenance__default": "source: "}, r"provenance\.default: 'source: '"),
        ({"provenance__default": "Paper"}, r"provenance\.default: 'Paper'"),
        ({"provenance": {"model": "assumed"}}, r"provenance\.schemes\.0\.weight_bits: missing"),
        ({"provenance": {"default": "paper", "nodes": "paper"}}, r"provenance\.nodes: names no field"),
        ({"provenance": {"default": "paper", "mod": "paper"}}, r"provenance\.mod: names no field"),
    ],
)
def test_refusals_name_field_value_and_what_is_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario(tree_of(**changes))


@pytest.mark.parametrize("path", sorted(load_scenario("bursty").numbers()))
def test_every_number_refuses_text_and_what_is_not_finite(path: str) -> None:
    scenario = load_scenario("bursty")
    for value in ("1", True, None, NAN, INFINITY, -INFINITY):
        # None leaves an optional number out, and these arrivals need theirs
        with pytest.raises(ScenarioError, match=rf"^scenario: 1 invalid setting\(s\): {re.escape(path)}: "):
            scenario.with_values({path: value})


@pytest.mark.parametrize("path", sorted(load_scenario("bursty").numbers()))
def test_every_number_but_decibels_refuses_negative_values(path: str) -> None:
    if path.endswith(("_db", "_dbm_per_hz")):
        assert load_scenario("bursty").with_values({path: -1.0}).numbers()[path] == -1.0
    else:
        with pytest.raises(
            ScenarioError, match=rf"^scenario: . invalid setting\(s\): {re.escape(path.removesuffix('.low'))}"
        ):
            load_scenario("bursty").with_values({path: -1})


def test_scheme_names_are_distinct() -> None:
    scheme = tree_of()["schemes"][0]
    with pytest.raises(ScenarioError, match=r"schemes: names \['W8A16', 'W8A16'\]; expected distinct names"):
        load_scenario(tree_of(schemes=[scheme, scheme]))


def test_every_scheme_must_fit_into_memory() -> None:
    # FP16 weights are 4 718 592 000 bytes
    with pytest.raises(ScenarioError, match=r"expected more than the 4\.719e\+09 .* schemes\[1\] \(FP16\)"):
        load_scenario(tree_of("quantized", node__device_memory_bytes=4.7e9))
    assert load_scenario(tree_of("quantized", node__device_memory_bytes=4.72e9))


def test_embeddings_count_when_included() -> None:
    scenario = load_scenario("memory")
    # 250 880 tokens * 2560 wide * 2 bytes = 1 284 505 600, beside 2 359 296 000 of W8A16 weights
    assert scenario.weight_bytes(scenario.schemes[0]) == 2_359_296_000
    with pytest.raises(ScenarioError, match=r"more than the 3\.644e\+09 bytes"):
        scenario.with_values({"model.include_embeddings": True})


@pytest.mark.parametrize(
    ("request_change", "message"),
    [
        ({"prompt_tokens": 513}, r"workload\.requests\[0\]\.prompt_tokens: 513; expected within \[1, 512\]"),
        ({"output_tokens": 0}, r"workload\.requests\.0\.output_tokens: 0"),
        ({"arrival_s": -1.0}, r"workload\.requests\.0\.arrival_s: -1\.0"),
        ({"latency_requirement_s": 0.4}, r"timing\.uplink_s \+ timing\.downlink_s: 0\.5; .* = 0\.4"),
        ({"accuracy_requirement": 1.1}, r"workload\.requests\.0\.accuracy_requirement: 1\.1"),
    ],
)
def test_explicit_requests_are_checked(request_change: dict[str, Any], message: str) -> None:
    request = {"arrival_s": 0.0, "prompt_tokens": 5, "output_tokens": 5, "latency_requirement_s": 2.0}
    limits = {"prompt_limit_tokens": 512, "output_limit_tokens": 512}
    workload = {"arrivals": "explicit", "requests": [request | request_change], **limits}
    with pytest.raises(ScenarioError, match=message):
        load_scenario(tree_of(workload=workload))


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ScenarioError, match="3 invalid") as caught:
        load_scenario(tree_of(timing__slot_s=-1, node__devices=0, radio__colour="red"))
    for path in ("timing.slot_s: -1", "node.devices: 0", "radio.colour: 'red'"):
        assert path in str(caught.value)


# --- with_values ---------------------------------------------------------------------------------------------------


def test_with_values_replaces_and_leaves_the_original() -> None:
    original = load_scenario("paper")
    changed = original.with_values({"workload.arrival_rate_rps": 50.0, "workload.prompt_tokens.values.1": 64})
    assert changed.workload.arrival_rate_rps == 50.0
    assert changed.workload.prompt_tokens.values == (128, 64, 512)  # type: ignore[union-attr]
    assert original.workload.arrival_rate_rps == 20.0
    assert original == load_scenario("paper")


def test_with_values_marks_what_it_sets_as_assumed() -> None:
    original = load_scenario("balanced")
    assert original.provenance_of("node.device_flops").startswith("source: ")
    changed = original.with_values({"node.device_flops": 2e12})
    assert changed.provenance_of("node.device_flops") == "assumed"
    assert changed.provenance_of("node.device_memory_bytes").startswith("source: ")
    cited = load_scenario(tree_of(provenance={"default": "paper"})).with_values({"timing.slot_s": 0.75})
    assert (cited.provenance_of("timing.slot_s"), cited.provenance_of("timing.uplink_s")) == ("assumed", "paper")
    whole = original.with_values({"node": original.node.model_dump()})
    assert whole.provenance_of("node.device_memory_bytes") == "assumed"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("timing.slots", 3, r"timing\.slots: no such setting; at 'slots' expected one of slot_s, uplink_s"),
        (
            "time.slot_s",
            3,
            r"time\.slot_s: no such setting; at 'time' expected one of timing, .*, \.\.\. \(\d+ in all\)",
        ),
        ("timing.slot_s.x", 3, r"timing\.slot_s\.x: no such setting; at 'x' expected one of nothing"),
        ("schemes.1.quality", 1.0, r"schemes\.1\.quality: no such setting; at '1' expected one of 0"),
        ("schemes.-1.quality", 1.0, r"schemes\.-1\.quality: no such setting"),
        ("workload.bursts.rate_rps", 1.0, r"workload\.bursts\.rate_rps: no such setting"),
        ("", 1.0, "no such setting"),
        ("timing.slot_s", "0.5", r"timing\.slot_s: '0\.5'; .*number"),
        ("schemes.0", 1, r"schemes\.0: 1; "),
    ],
)
def test_with_values_refuses_unknown_paths_and_bad_values(path: str, value: Any, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario("balanced").with_values({path: value})


# --- Other variations ----------------------------------------------------------------------------------------------


def test_variations_change_what_they_name_and_nothing_where_nothing_is_given() -> None:
    azure, light = load_scenario("azure-conv"), load_scenario("light")
    assert azure.with_trace("x.csv") == azure.with_values({"workload.trace.path": "x.csv"})
    assert azure.with_trace("x.csv").without_trace().checksum == azure.checksum
    assert light.with_slots(7) == light.with_values({"timing.episode_slots": 7})
    assert light.with_arrival_rate(7) == light.with_values({"workload.arrival_rate_rps": 7.0})
    for same in (light.with_values({}), light.with_trace(None), light.with_slots(None), light.with_arrival_rate(None)):
        assert same is light
    assert (light.without_trace(), azure.without_trace()) == (light, azure)


def test_bursts_grow_with_the_arrival_rate() -> None:
    workload = load_scenario("bursty").with_arrival_rate(10.0).workload
    assert workload.bursts is not None
    assert (workload.arrival_rate_rps, workload.bursts.rate_rps) == (10.0, 80.0)


def test_variations_refuse_what_does_not_apply() -> None:
    with pytest.raises(ScenarioError, match="'light' draws its requests and replays no file"):
        load_scenario("light").with_trace("x.csv")
    with pytest.raises(ScenarioError, match=r"timing\.episode_slots: 0"):
        load_scenario("light").with_slots(0)
    with pytest.raises(ScenarioError, match=r"expected one with a workload\.arrival_rate_rps to change"):
        load_scenario("azure-conv").with_arrival_rate(1.0)
    for rate in (0.0, float("inf"), float("nan")):
        with pytest.raises(ScenarioError, match=f"{rate}; expected a finite number above 0"):
            load_scenario("light").with_arrival_rate(rate)


# --- Checksum ------------------------------------------------------------------------------------------------------


def test_labels_leave_the_checksum_alone() -> None:
    original = load_scenario("balanced")
    renamed = original.with_values({"name": "other", "description": "other", "model.name": "other"})
    assert renamed.checksum == original.checksum
    assert renamed != original
    assert original.with_values({"timing.slot_s": original.timing.slot_s}).checksum == original.checksum


def test_integers_and_floats_of_equal_value_are_one_setting() -> None:
    whole, decimal = load_scenario(tree_of(node__device_flops=10**12)), load_scenario(tree_of(node__device_flops=1e12))
    assert whole.checksum == decimal.checksum
    assert isinstance(whole.node.device_flops, float)


def test_a_scenario_given_as_an_object_keeps_its_type() -> None:
    scenario = load_scenario(tree_of())
    assert isinstance(scenario, Scenario)
    assert np.isclose(scenario.node.flops, 26.6e12)
    assert scenario.node.memory_bytes == 160e9
    assert scenario.timing.episode_s == 100.0
    assert scenario.timing.radio_s == 0.5


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"an alias .*; expected settings written out"),
        ("\n".join(f"unknown_{i}: 1" for i in range(8_000)), r"8008 invalid setting\(s\).*; and 8000 more$"),
        ("[" * 3000 + "]" * 3000, "not valid YAML"),
        ("{[1, 2]: 3}", "not valid YAML"),
        ("x" * 2_000_000, "more than 200000 bytes"),
    ],
    ids=["aliases", "unknown keys", "nested", "odd key", "large"],
)
def test_files_that_would_grow_or_hang_are_refused_at_once(tmp_path, text, message):
    path = tmp_path / "scenario.yaml"
    path.write_text(text)
    began_s = time.monotonic()
    with pytest.raises(ScenarioError, match=message):
        load_scenario(path)
    assert time.monotonic() - began_s < 10.0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("timing.episode_slots", 10**12, "timing.episode_slots: 1000000000000; .*1000000"),
        ("workload.arrival_rate_rps", 1e9, "workload.arrival_rate_rps: 1e.09, which means .* requests an episode"),
        ("timing.spill_s", 1e9, "timing.spill_s: 1e.09, which means .* expected at most"),
        ("node.devices", 10**59, "node.devices: 1000.*; .*1000000000"),
        ("radio.uplink_bandwidth_hz", 1e-320, "radio.uplink_bandwidth_hz: 1e-320; .*at least 1e-30"),
        ("node.load_bandwidth_bytes_per_s", 1e-20, "node.load_bandwidth_bytes_per_s: 1e-20, which means"),
        ("workload.latency_requirement_s.high", 1e9, "workload.latency_requirement_s: 1e.09, which means"),
        ("timing.slot_s", 1e300, "timing.slot_s: 1e.300; .*less than or equal to 1000000"),
    ],
)
def test_sizes_that_no_machine_holds_are_refused_before_anything_is_allocated(path, value, message):
    with pytest.raises(ScenarioError, match=message):
        load_scenario("light").with_values({path: value})


def test_bursts_too_short_to_be_drawn_are_refused():
    with pytest.raises(ScenarioError, match=r"mean_calm_s .* which means 1e.12 bursts an episode; expected at most"):
        load_scenario("bursty").with_values(
            {"workload.bursts.mean_calm_s": 5e-11, "workload.bursts.mean_burst_s": 5e-11}
        )


@pytest.mark.parametrize(
    ("text", "value"),
    [("0100", "0100"), ("1:30", "1:30"), ("1_000", "1_000"), ("1e9", 1e9), ("64", 64), ("-2.5", -2.5), (".5", 0.5)],
)
def test_numbers_are_read_as_they_are_written(text, value):
    read = parse_setting(text)
    assert read == value
    assert type(read) is type(value)


# --- A base and what differs ---------------------------------------------------------------------------------------


def test_a_base_gives_what_a_file_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "busy.yaml").write_text(
        "base: balanced\nworkload: {arrival_rate_rps: 30.0, prompt_tokens: {high: 256}, output_tokens: "
        "{kind: constant, value: 40}}\nprovenance: {workload.prompt_tokens: paper}\n"
    )
    (tmp_path / "short.yaml").write_text("base: busy.yaml\nname: quick\ntiming: {episode_slots: 5}\n")
    balanced, busy, short = map(load_scenario, ("balanced", tmp_path / "busy.yaml", tmp_path / "short.yaml"))
    values = {"workload.arrival_rate_rps": 30.0, "workload.prompt_tokens.high": 256}
    whole = balanced.with_values(values | {"workload.output_tokens": {"kind": "constant", "value": 40}})
    assert busy.checksum == whole.checksum
    assert short.checksum == whole.with_slots(5).checksum
    assert (busy.name, short.name) == ("busy", "quick")
    assert "workload.arrival_rate_rps" in busy.description
    assert busy.provenance["workload.arrival_rate_rps"] == "assumed"
    assert busy.provenance_of("workload.prompt_tokens.high") == "assumed"
    assert busy.provenance_of("workload.prompt_tokens.low") == "paper"
    assert busy.provenance_of("model.layers") == balanced.provenance_of("model.layers")
    assert "base" not in yaml.safe_load(busy.to_yaml())
    assert load_scenario({"base": "balanced", "name": "balanced"}).checksum == balanced.checksum
    measured = load_scenario({"base": "chat", "costs": {"step_s": 0.02}}).costs.model_dump()
    assert measured == load_scenario("chat").costs.model_dump() | {"step_s": 0.02}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: nowhere", r"own\.yaml: base: 'nowhere' is neither a file nor a shipped scenario; shipped: "),
        ("base: 3", r"base: 3; expected a scenario's name or path"),
        ("base: own.yaml", r"own\.yaml: base: 'own\.yaml', which is based on this one"),
        ("base: other.yaml", r"other\.yaml: base: 'own\.yaml', which is based on this one"),
        ("base: tiny\nqueues: {}", r"queues: {}; there is no such setting"),
        ("base: tiny\nqueue: {capacities: 3}", r"queue\.capacities: 3; there is no such setting"),
        ("queue: {capacity: 3}", r"own\.yaml: lacks name, model, .*; expected them, or base: with a scenario"),
    ],
)
def test_what_can_be_no_base_is_refused_in_a_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("base: own.yaml")
    with pytest.raises(ScenarioError, match=message) as refused:
        load_scenario(tmp_path / "own.yaml")
    assert "\n" not in str(refused.value)
