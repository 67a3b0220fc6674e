"""The autoregressive CNN: its network and its training."""
