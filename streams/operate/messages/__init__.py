"""Records of topics as people read them: decoded, filtered, newest first, live."""
