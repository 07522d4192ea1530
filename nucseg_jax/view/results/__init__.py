"""Results: their indexes, their tissue, what they say of themselves, and figures of regions."""
