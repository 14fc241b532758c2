"""Hugging Face Transformers with Accelerate: ``generate`` on a device map, and the server with continuous batching."""

from ullage.engines.transformers.ledger import ledger
from ullage.engines.transformers.settings import resolve

__all__ = ["ledger", "resolve"]
