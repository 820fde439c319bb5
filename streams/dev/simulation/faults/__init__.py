"""What goes wrong: processes, brokers, shards, disks, clocks, logs."""
