"""``d4d doctor``: collects the facts of the host, then judges them, for which no host is needed."""
