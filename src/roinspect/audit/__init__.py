"""What was trained, exported, calibrated, qualified, released, loaded and corrected: an append-only log."""
