"""Where addresses come from: a DHCP server, or a range of our own."""
