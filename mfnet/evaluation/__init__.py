"""The FaceScape benchmark's metrics, the baselines, and the tables."""
