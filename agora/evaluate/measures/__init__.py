"""What an evaluation shows: figures with their intervals, tests, and how debates moved."""
