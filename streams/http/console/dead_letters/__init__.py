"""Dead letters, their journals, and plans of replays."""
