"""The host as it is now, for those who look for what is wrong with it."""
