"""Everything that decides: the policy protocol, the expert, baselines, networks and learners."""
