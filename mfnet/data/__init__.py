"""The data sets: their files' names, landmarks, crops and triplets."""
