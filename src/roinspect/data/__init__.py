"""Read files into records, regions of interest and decoded samples."""
