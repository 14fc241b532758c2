"""From logits to tokens: what a request asks for, and choosing by it."""
