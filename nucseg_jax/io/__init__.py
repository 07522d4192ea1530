"""Reading and writing files, images and label maps."""
