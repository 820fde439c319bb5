"""What keeps one failing dependency from becoming everyone's failure."""
