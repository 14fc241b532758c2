"""What tokens take in the cache, as the plan of the runtime counts it: one formula for both."""

from ullage.engines.runtime.pages import Form, Kept

__all__ = ["Form", "Kept"]
