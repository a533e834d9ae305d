"""Names for the array types used throughout."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

Numbers: TypeAlias = Any
"""A number or an array, in formulas that take both: NumPy's operators give the type checker no better name."""
