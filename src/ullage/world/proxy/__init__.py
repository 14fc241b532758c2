"""The guard in front of an engine: an OpenAI-compatible reverse proxy that streams, and lets in what the pure step lets in."""
