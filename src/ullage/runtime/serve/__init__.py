"""The runtime behind OpenAI's interface over HTTP."""
