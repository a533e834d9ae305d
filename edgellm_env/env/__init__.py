"""Gymnasium environments on the node: actions, observations, single and vector."""
