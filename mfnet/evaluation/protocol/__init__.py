"""What the benchmarks define: CD, MNE and CR of FaceScape, and AFLW2000-3D's NME."""
