"""Everything that decides: the policy protocol, the expert, baselines, networks and learners."""

import contextlib

with contextlib.suppress(ImportError):
    # Where an extra brings the old Gym, stable-baselines3 imports it, and it prints a notice of its own then.
    from gym_notices import notices

    notices.notices.clear()
