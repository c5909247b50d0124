"""What serves the domain's ports: allocators, stores, DHCP on the wire, the Docker API."""
