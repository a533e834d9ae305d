"""A part of a feasible batch is feasible: masks and greedy packing rely on it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgellm_env.slot.problem import SlotProblem

SIZES = st.integers(1, 12)


@st.composite
def problems(draw: st.DrawFn) -> SlotProblem:
    size = draw(SIZES)

    def column(low: float, high: float) -> np.ndarray:
        return draw(hnp.arrays(np.float64, size, elements=st.floats(low, high, allow_subnormal=False)))

    return SlotProblem(
        compute_s=column(0.0, 1.0),
        kv_bytes=column(0.0, 1e10),
        uplink_share=column(0.0, 1.2),
        downlink_share=column(0.0, 1.2),
        slack_s=column(-1.0, 10.0),
        compute_limit_s=draw(st.floats(0.0, 10.0)),
        memory_bytes=draw(st.floats(0.0, 1e11)),
        admissible=draw(hnp.arrays(np.bool_, size, elements=st.booleans() | st.just(True))),
    )


@settings(max_examples=100, deadline=None)
@given(problem=problems(), data=st.data())
def test_a_part_of_a_feasible_batch_is_feasible(problem: SlotProblem, data: st.DataObject) -> None:
    # A feasible batch, grown greedily in a drawn order; then any part of it.
    batch: list[int] = []
    for index in data.draw(st.permutations(range(problem.size))):
        if problem.is_feasible([*batch, index]):
            batch.append(index)
    assert problem.is_feasible(batch)
    keep = data.draw(hnp.arrays(np.bool_, len(batch)))
    part = [index for index, kept in zip(batch, keep, strict=True) if kept]
    assert problem.is_feasible(part)


@settings(max_examples=100, deadline=None)
@given(problem=problems(), data=st.data())
def test_feasible_means_no_violation_and_each_violation_is_positive(problem: SlotProblem, data: st.DataObject) -> None:
    mask = data.draw(hnp.arrays(np.bool_, problem.size))
    violations = problem.violations(mask)
    assert problem.is_feasible(mask) == (not violations)
    assert all(amount > 0 for amount in violations.values())


@settings(max_examples=50, deadline=None)
@given(problem=problems(), data=st.data())
def test_the_order_of_a_selection_does_not_matter(problem: SlotProblem, data: st.DataObject) -> None:
    mask = data.draw(hnp.arrays(np.bool_, problem.size))
    indices = data.draw(st.permutations(np.flatnonzero(mask).tolist()))
    assert problem.totals(indices) == problem.totals(mask)
