"""What the canvas shows of the scan and around it: the view, letters, the colour bar."""
