"""Jobs, which `nucseg predict` does, and images that are uploaded for them."""
