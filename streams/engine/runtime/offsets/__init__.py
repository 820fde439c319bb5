"""Words in the metadata of committed offsets."""
