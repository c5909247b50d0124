"""DHCP messages as bytes."""
