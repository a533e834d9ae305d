"""The node's state and transition, compiled, for many nodes at once."""
