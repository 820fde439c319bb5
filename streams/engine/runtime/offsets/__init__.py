"""What is kept in the metadata of committed offsets."""
