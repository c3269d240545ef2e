"""The hands: files, engines, judges, Ray and MLflow. Flows call them; the ground floor does not."""
