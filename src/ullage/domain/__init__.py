"""The nouns: frozen values with arithmetic on themselves only."""
