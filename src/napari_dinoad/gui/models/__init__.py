"""Models of normal: which there are, which is chosen, and their backbones' weights."""
