"""PPO with the permutation-equivariant network: a bit per waiting request."""
