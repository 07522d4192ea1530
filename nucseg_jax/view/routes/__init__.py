"""The endpoints, and what they have in common."""
