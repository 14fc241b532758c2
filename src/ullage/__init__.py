"""Ullage says, before and while a large language model is served, how every byte of every device is used."""

__version__ = "0.1.0"
