"""Docker's IPAM protocol over HTTP."""
