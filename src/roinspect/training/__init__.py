"""From photographs to a bundle."""
