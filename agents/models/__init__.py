"""What learned agents compute: features, scorers, networks, and how scores become batches."""
