"""Who runs next, in which rows, in whose memory: frozen states in, decisions out, no PyTorch."""
