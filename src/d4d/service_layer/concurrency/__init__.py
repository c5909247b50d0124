"""Tasks and locks that every use case needs."""
