"""What the studio keeps, and what it runs."""
