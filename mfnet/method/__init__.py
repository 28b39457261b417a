"""The paper's method: the network (3.1), the covisible mask (5), the losses (6 to 11), and training."""
