"""Learning from DFTSP: behaviour cloning, and DAgger, which asks it about the slots that the learner itself meets."""
