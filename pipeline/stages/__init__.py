"""One short script per DVC stage."""
