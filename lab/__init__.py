"""A lab in network namespaces: a switch, DHCP servers and Docker engines, all of them real."""
