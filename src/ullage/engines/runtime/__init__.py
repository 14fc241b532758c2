"""Our own runtime on PyTorch: paged cache grown on demand, chunked prefill, dual chunk attention."""
