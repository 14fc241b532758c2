"""Text and tokens: tokenisers behind one interface, chat templates, and streaming detokenisation."""
