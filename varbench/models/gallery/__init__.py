"""The Gallery: a tiny drawn world whose images, labels and captions are known exactly."""
