"""What was trained, exported, calibrated, loaded and corrected, by whom: an append-only log."""
