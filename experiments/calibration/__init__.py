"""From measured iterations of a serving engine to a profile: reading, fitting, errors by kind of iteration."""
