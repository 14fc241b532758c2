"""How many bytes: each formula stands once."""
