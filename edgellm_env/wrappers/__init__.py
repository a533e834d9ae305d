"""Wrappers for the single environments.

:mod:`edgellm_env.wrappers.vector_wrappers` has the same names for ``gym.make_vec``.

========================  ==============================================================================
``FlattenObservation``    one float32 vector in place of the Dict, for plain MLPs (Gymnasium's own)
``NormalizeReward``       rewards divided by the running spread of returns
``MostUrgent``            shows only the k requests with the least slack, and acts on them alone
``ExpertSelection``       the exact solver's batch for the current slot in ``info``, as DAgger asks for it
========================  ==============================================================================

Order matters once: ``FlattenObservation`` comes last, since the others read the Dict.
"""

from gymnasium.wrappers import FlattenObservation

from edgellm_env.wrappers.single_wrappers import ExpertSelection, MostUrgent, NormalizeReward

__all__ = ["ExpertSelection", "FlattenObservation", "MostUrgent", "NormalizeReward"]
