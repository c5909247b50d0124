"""What an operator can set, where it is written, and what it means."""
