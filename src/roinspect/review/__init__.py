"""What people found about the parts that the line decided on: rates, another threshold, the next training."""
