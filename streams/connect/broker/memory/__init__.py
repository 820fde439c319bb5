"""Its twin in memory, held to the same contract suite."""
