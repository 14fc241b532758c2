"""Attention over pieces of a sequence: which keys a block of queries meets, the kernels, and the exact merge of their results."""
