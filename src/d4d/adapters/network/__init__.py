"""The host's interfaces, packet sockets on them, and ARP."""
