"""What the domain calls out to. Adapters serve these by shape; they do not inherit."""
