"""The cache: pages in arenas that take memory when tokens come and give it back when they leave."""
