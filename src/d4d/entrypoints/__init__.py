"""How D4D is reached: Docker's IPAM protocol and the command line."""
