"""What the product runs on: embedded servers, images, manifests and sample data."""
