"""Codecs of topic values: JSON, MessagePack, raw bytes, schema registries, or the user's own."""
