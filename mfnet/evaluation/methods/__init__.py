"""What can be judged: MFNet, refined or not, and the baselines."""
