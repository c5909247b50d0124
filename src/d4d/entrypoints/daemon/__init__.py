"""The process that serves: its start, its sockets, its end."""
