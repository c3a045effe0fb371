"""From files to records, regions of interest and decoded samples."""
