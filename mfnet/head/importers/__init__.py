"""Head models from elsewhere as a HeadModel: FLAME, anny, ICT-FaceKit, and what they share."""
