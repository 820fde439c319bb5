"""What readers see of `app.windows`: dimensions, figures, and how to ask the shards for them."""
