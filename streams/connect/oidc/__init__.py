"""Signing in at an OpenID provider: discovery, codes, ID tokens, and what their claims grant."""
