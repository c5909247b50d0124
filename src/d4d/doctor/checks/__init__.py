"""What is wrong, judged from facts alone: no check asks anybody anything."""
