"""A store in one file of this host."""
