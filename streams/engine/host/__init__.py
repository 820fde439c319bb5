"""A worker process: the app on Faust's worker, and what serves beside it."""
