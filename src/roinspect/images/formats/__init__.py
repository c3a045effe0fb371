"""One file for each image format: what its header promises, and its pixels, or why they cannot be had."""
