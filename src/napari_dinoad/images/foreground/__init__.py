"""What of a scan is scored: the body, not the air and the frames around it."""
