"""The table of deliberate faults fits the package, and a fault is told from none."""

import re
import shlex

import pytest

from tests.mutants import ROOT, Fault, apply, failing_test, faults


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.name)
def test_every_fault_can_be_made_and_names_tests_that_exist(fault: Fault) -> None:
    source = {path: path.read_text() for path in (ROOT / "edgellm_env").rglob("*.py")}
    for old, new in fault.edits.items():
        assert sum(text.count(old) for text in source.values()) == 1, old
        assert new != old
    assert (ROOT / "tests" / shlex.split(fault.tests)[0]).is_file()


def test_a_fault_is_caught_and_an_edit_without_effect_survives() -> None:
    by_hand = "physics/test_quantization.py"
    ratio = "return fp16_perplexity / quantized_perplexity"
    assert failing_test({ratio: "return quantized_perplexity / fp16_perplexity"}, by_hand).startswith(
        f"tests/{by_hand}"
    )
    assert failing_test({ratio: "return 1.0 / (quantized_perplexity / fp16_perplexity)"}, by_hand) is None


def test_texts_that_are_not_found_once_are_refused(tmp_path) -> None:
    (tmp_path / "module.py").write_text("one = 1\nsame = 1\n")
    with pytest.raises(ValueError, match=re.escape("'= 1': in the package 2 times; expected once")):
        apply({"= 1": "= 2"}, tmp_path)
    apply({"one = 1": "one = 2", "same = 1": "same = one = 1"}, tmp_path)
    assert (tmp_path / "module.py").read_text() == "one = 2\nsame = one = 1\n"
