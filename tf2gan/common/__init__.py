"""What both sides share and what needs no framework: NumPy and pictures only."""
