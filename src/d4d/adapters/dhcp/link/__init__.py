"""Ways to the DHCP servers: layer 2 on a parent, or UDP as a relay."""
