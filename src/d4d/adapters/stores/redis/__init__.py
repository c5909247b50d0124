"""A store that hosts share."""
