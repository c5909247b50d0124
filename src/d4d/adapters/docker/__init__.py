"""Docker's API, and the words of its plugin protocol."""
