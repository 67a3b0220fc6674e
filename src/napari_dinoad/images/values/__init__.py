"""The values of voxels: their colours, their range, and what is worked out from many of them."""
