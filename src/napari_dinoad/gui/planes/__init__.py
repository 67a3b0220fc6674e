"""The planes that the canvas does not show."""
