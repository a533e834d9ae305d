from edgellm_env.costs.iterations import COEFFICIENTS
from edgellm_env.costs.profiles import Profile


def coefficients(profile: Profile) -> tuple[float, ...]:
    """The coefficients in the formula's order."""
    return tuple(getattr(profile, name) for name in COEFFICIENTS)
