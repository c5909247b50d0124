"""DHCP on the wire: codec, transports, and the sessions that drive the clients."""
