"""What a record is beside its topic: headers, values, what is wrong with a bad one."""
