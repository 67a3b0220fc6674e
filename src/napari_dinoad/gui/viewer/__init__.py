"""What is in the viewer: scans, heatmaps and masks as layers, and what is drawn over them."""
