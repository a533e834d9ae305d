"""The project's study of learned agents: trainings with several seeds, comparisons and plots, stored and resumable."""
