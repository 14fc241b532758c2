"""Facts that are not ours to decide: tensor formats, devices, model configurations."""
