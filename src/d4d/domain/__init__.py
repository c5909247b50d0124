"""Pools, leases and reservations, and the rules about them: no I/O, no clock, no framework."""
