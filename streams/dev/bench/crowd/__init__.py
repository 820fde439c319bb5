"""A crowd that reads the console while events flow: how long each of them waits, and for what."""
