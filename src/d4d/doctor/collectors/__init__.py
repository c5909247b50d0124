"""What the host, its engine and its stores look like: facts for the checks."""
