"""Weights from safetensors directories and GGUF files, as views of the mapped file."""
