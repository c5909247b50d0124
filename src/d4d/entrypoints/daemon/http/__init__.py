"""The HTTP servers that D4D runs on."""
