"""What happened to leases, kept in a database of its own."""
