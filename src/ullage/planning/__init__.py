"""The decisions, all pure."""
