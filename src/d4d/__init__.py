"""D4D, DHCP for Docker: a Docker IPAM driver that leases addresses from the site's DHCP server."""
