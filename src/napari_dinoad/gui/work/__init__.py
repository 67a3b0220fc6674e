"""Long work beside the window: threads, worker processes, and what they are asked for."""
