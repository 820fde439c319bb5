"""A worker process: the app on Faust's worker, and its servers."""
