"""How the values of a topic are written: JSON, MessagePack, raw bytes, or a codec of the user's."""
