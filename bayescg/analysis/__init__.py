"""What the posterior means: identifiability, predictions, checks, the statement in words."""
