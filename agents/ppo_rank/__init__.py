"""PPO over rankings: a network reads a pooled slot and sets the weights by which every waiting request is scored."""
