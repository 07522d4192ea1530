"""What users correct: kept, and written for training."""
