"""Our own engine on PyTorch: only ever a separate process, `python -m ullage.runtime MODEL`."""
