"""``d4d doctor``: looks at the host first, then judges what was seen, which needs no host."""
