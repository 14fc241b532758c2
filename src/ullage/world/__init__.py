"""The only package with input and output: files, the network, drivers."""
