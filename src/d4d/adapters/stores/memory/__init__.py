"""A store that forgets when the driver ends: for tests and trials."""
