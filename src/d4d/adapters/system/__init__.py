"""Clock, files, sockets, threads and the service manager of this host."""
