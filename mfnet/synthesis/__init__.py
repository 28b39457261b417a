"""Generated people, photographed into the trees of Multi-PIE, the FaceScape benchmark and AFLW2000-3D."""
