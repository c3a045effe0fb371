"""From a trained bundle to the line."""
