"""The benchmark: what D4D costs, against what the same work costs without it, in one run."""
