"""Where pools and leases are kept."""
