"""Retraining that runs itself: `python -m pipeline.retrain`, once or served on a schedule."""
