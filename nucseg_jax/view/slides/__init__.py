"""Slides as the page shows them: opened and kept open, in tiles."""
