"""The nuclei of a result as an index on the disk, and what the page is told of them."""
