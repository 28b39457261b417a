"""MFNet: a person's head from a few photographs, as the parameters of a FLAME-style head model."""
