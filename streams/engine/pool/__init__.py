"""Jobs in processes of their own: bounded, capped, killed when they are late, and replaced."""
