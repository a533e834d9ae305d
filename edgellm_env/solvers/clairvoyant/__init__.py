"""What a scheduler that knows the future could serve at best in one episode: a schedule and a proven bound.

Needs the linear-programming solver of the extra ``bounds``, which is imported when it is first wanted.
"""

from edgellm_env.solvers.clairvoyant.bound import ClairvoyantBound, clairvoyant_bound
from edgellm_env.solvers.clairvoyant.schedules import replay

__all__ = ["ClairvoyantBound", "clairvoyant_bound", "replay"]
