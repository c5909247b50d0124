"""Use cases: what is done for Docker and for the operator, in the order in which it must happen."""
