"""The classifiers that a concept can name as its judge."""
