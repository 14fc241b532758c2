"""The decoder: what a family computes, its weights in their resident form, and one forward pass."""
