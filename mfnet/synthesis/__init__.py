"""Generated people, photographed into the trees of Multi-PIE and the FaceScape benchmark."""
