"""Two results of one slide against each other."""
