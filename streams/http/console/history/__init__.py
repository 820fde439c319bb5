"""What the console remembers of the pipeline: backlogs over time, changes, and the tenants in front."""
