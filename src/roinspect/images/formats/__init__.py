"""One file per image format: what its header promises, and its pixels or the reason there are none."""
