"""Models in MLflow: logged with each training, registered, and served."""
