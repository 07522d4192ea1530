"""A result on one page, to save and print."""
