"""PPO with the permutation-equivariant network: a bit per waiting request, or one pick after the other."""
