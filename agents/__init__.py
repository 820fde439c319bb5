"""The built-in pipeline: one file for each agent, and the app that declares them (agents/app.py)."""
